// SPDX-License-Identifier: Apache-2.0

// The govmomi simulator as a peer of the tests: a vCenter (or an ESXi host) on a free loopback port
// with a certificate of its own. Prints one JSON line {"url", "cert"} and serves until its standard
// input ends.
package main

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"flag"
	"io"
	"log"
	"net/url"
	"os"

	"github.com/vmware/govmomi/simulator"
)

func main() {
	esx := flag.Bool("esx", false, "a stand-alone host instead of a vCenter")
	machines := flag.Int("vm", 2, "virtual machines in each resource pool")
	user := flag.String("username", "ops", "who may log in")
	passwordFile := flag.String("password-file", "", "whose first line is the password")
	certFile := flag.String("cert-file", "", "where to write the server's certificate")
	flag.Parse()

	password, err := os.ReadFile(*passwordFile)
	if err != nil {
		log.Fatal(err)
	}
	model := simulator.VPX()
	if *esx {
		model = simulator.ESX()
	}
	model.Machine = *machines
	if err := model.Create(); err != nil {
		log.Fatal(err)
	}
	defer model.Remove()
	model.Service.TLS = new(tls.Config)
	model.Service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.UserPassword(*user, string(password))}
	model.Service.RegisterEndpoints = true
	server := model.Service.NewServer()
	defer server.Close()

	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	if err := os.WriteFile(*certFile, pem.EncodeToMemory(block), 0o600); err != nil {
		log.Fatal(err)
	}
	address := url.URL{Scheme: "https", Host: server.URL.Host, Path: "/sdk"}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{"url": address.String()}); err != nil {
		log.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

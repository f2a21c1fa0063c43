// SPDX-License-Identifier: Apache-2.0
// Reads the documents of a YAML file into KubeVirt's own types, strictly: a member that the published API does not have is an
// error. It then checks what the types alone do not say, and prints the documents as KubeVirt would store them.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/util/validation"
	kubevirt "kubevirt.io/api/core/v1"
	cdi "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	strict "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
	os.Exit(1)
}

// read is what an API server does with strict validation of fields.
func read(text []byte, into any) {
	converted, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		fail("%v", err)
	}
	decode(converted, into)
}

func decode(text []byte, into any) {
	unknown, err := strict.UnmarshalStrict(text, into)
	if err != nil {
		fail("%v", err)
	}
	if len(unknown) > 0 {
		fail("%v", unknown)
	}
}

func label(name string) {
	if wrong := validation.IsDNS1123Label(name); len(wrong) > 0 {
		fail("name %q: %s", name, wrong[0])
	}
}

func dataVolume(text []byte) any {
	var volume cdi.DataVolume
	read(text, &volume)
	label(volume.Name)
	source := volume.Spec.Source
	if source == nil || (source.HTTP == nil && source.S3 == nil && source.Upload == nil) {
		fail("%s has no source", volume.Name)
	}
	if volume.Spec.Storage == nil || volume.Spec.Storage.Resources.Requests.Storage().Value() < 1<<20 {
		fail("%s asks for no storage", volume.Name)
	}
	return volume
}

// same: the disks (or interfaces) of the domain are those that the VM gets.
func same(what string, wanted, given []string) {
	left := map[string]bool{}
	for _, name := range given {
		label(name)
		if left[name] {
			fail("there are two of the name %s", name)
		}
		left[name] = true
	}
	for _, name := range wanted {
		if !left[name] {
			fail("%s %s is of nothing", what, name)
		}
		delete(left, name)
	}
	for name := range left {
		fail("%s is in no %s", name, what)
	}
}

func machine(text []byte) any {
	var vm kubevirt.VirtualMachine
	read(text, &vm)
	label(vm.Name)
	if vm.Spec.Template == nil || vm.Spec.RunStrategy == nil {
		fail("the VM has no template or no runStrategy")
	}
	spec := vm.Spec.Template.Spec
	// Its own decoder is lenient: once more without it.
	var parts struct {
		Spec struct {
			Template struct {
				Spec json.RawMessage `json:"spec"`
			} `json:"template"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &parts); err != nil {
		fail("%v", err)
	}
	type plain kubevirt.VirtualMachineInstanceSpec
	decode(parts.Spec.Template.Spec, new(plain))
	var disks, volumes, interfaces, networks []string
	for _, disk := range spec.Domain.Devices.Disks {
		disks = append(disks, disk.Name)
	}
	for _, volume := range spec.Volumes {
		volumes = append(volumes, volume.Name)
	}
	for _, nic := range spec.Domain.Devices.Interfaces {
		interfaces = append(interfaces, nic.Name)
	}
	for _, network := range spec.Networks {
		networks = append(networks, network.Name)
	}
	same("disk", disks, volumes)
	same("interface", interfaces, networks)
	return vm
}

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		fail("%v", err)
	}
	out := []any{}
	for _, one := range bytes.Split(text, []byte("\n---\n")) {
		var kind struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
		}
		if err := yaml.Unmarshal(one, &kind); err != nil {
			fail("%v", err)
		}
		switch kind.APIVersion + " " + kind.Kind {
		case cdi.SchemeGroupVersion.String() + " DataVolume":
			out = append(out, dataVolume(one))
		case kubevirt.GroupVersion.String() + " VirtualMachine":
			out = append(out, machine(one))
		default:
			fail("there is no %s %s", kind.APIVersion, kind.Kind)
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		fail("%v", err)
	}
}

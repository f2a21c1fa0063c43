# SPDX-License-Identifier: Apache-2.0
"""An S3 server in memory that answers as some servers do and others do not. It checks no signature.

    with OddS3(begin_root="InitiateMultipartUpload") as server: … server.url, server.objects …

`begin_root`: what the root of the answer to a begun upload is called. `not_s3`: the first part of a request's
line ("POST /vms/") that is answered with 200 and a page. `counted` False: a composite SHA-256 comes without its
"-N". `versions`: the bucket keeps versions. `wrong_whole`: a completed upload has another ETag. `copies`: what the
root of the answer to UploadPartCopy is called; by another name than S3's nothing is copied, and "" refuses. `no_http`:
bytes without any header for this many requests.
"""

import base64
import hashlib
import http.server
import re
import threading
import urllib.parse


class OddS3:
    def __init__(self, bucket="vms", begin_root="InitiateMultipartUploadResult", not_s3=None, counted=True,
                 versions=False, wrong_whole=False, copies="CopyPartResult", no_http=0):
        self.bucket, self.begin_root, self.not_s3, self.counted = bucket, begin_root, not_s3, counted
        self.versions, self.wrong_whole, self.copies, self.no_http = versions, wrong_whole, copies, no_http
        self.objects = {}  # key → [(version, bytes, etag, sha256, metadata)], the newest last
        self.uploads = {}  # id → (key, metadata, {number: (bytes, etag, sha256)})
        self.requests, self.received, self.made = [], 0, 0  # ["PUT /vms/key?…"], bytes of bodies
        self.lock = threading.Lock()

    def __enter__(self):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with outer.lock:
                    outer.requests.append(f"{self.command} {self.path}")
                    outer.received += len(body)
                    if outer.no_http > 0:
                        outer.no_http -= 1
                        self.wfile.write(b"SSH-2.0-something else\r\n")
                        self.close_connection = True
                        return
                    if outer.not_s3 and f"{self.command} {self.path}".startswith(outer.not_s3):
                        return self.answer(200, b"<html><body>Sign in</body></html>")
                    url = urllib.parse.urlsplit(self.path)
                    query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
                    key = urllib.parse.unquote(url.path).removeprefix(f"/{outer.bucket}").lstrip("/")
                    outer.serve(self, key, query, body)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_any

            def answer(self, status, body=b"", headers=()):
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                if not any(name == "Content-Length" for name, _ in headers):
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def newest(self, key):
        return self.objects[key][-1][1]

    def storage(self, **options):
        return {"plugin": "s3", "endpoint": self.url, "region": "us-east-1", "anonymous": True, "part_size": "5MiB",
                **options}

    # --- requests

    def serve(self, request, key, query, body):
        if not key:
            return request.answer(200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
        if "uploads" in query or "uploadId" in query:
            return self.serve_upload(request, key, query, body)
        if request.command == "PUT":
            version = self.make(key, body, f'"{hashlib.md5(body).hexdigest()}"', sha256(body), metadata(request))
            headers = [("ETag", self.objects[key][-1][2]), ("x-amz-checksum-sha256", sha256(body))]
            return request.answer(200, headers=headers + ([("x-amz-version-id", version)] if self.versions else []))
        kept = self.objects.get(key, [])
        if "versionId" in query:
            self.objects[key] = [one for one in kept if one[0] != query["versionId"]]
            return request.answer(204)
        if request.command == "DELETE":
            if self.versions and kept:  # a marker hides it, and it stays
                self.objects[key].append((f"marker-{len(kept)}", None, "", "", []))
            else:
                self.objects.pop(key, None)
            return request.answer(204)
        if not kept or kept[-1][1] is None:
            return request.answer(404)
        version, data, etag, digest, meta = kept[-1]
        headers = [("ETag", etag), *meta] + ([("x-amz-version-id", version)] if self.versions else [])
        if digest:
            headers.append(("x-amz-checksum-sha256", digest))
        if request.command == "HEAD":
            return request.answer(200, headers=headers + [("Content-Length", str(len(data)))])
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if not wanted:
            return request.answer(200, data, headers)
        first, last = int(wanted[1]), min(int(wanted[2]), len(data) - 1)
        headers.append(("Content-Range", f"bytes {first}-{last}/{len(data)}"))
        return request.answer(206, data[first:last + 1], headers)

    def serve_upload(self, request, key, query, body):
        if "uploads" in query:
            self.made += 1
            name = f"upload-{self.made}"
            self.uploads[name] = (key, metadata(request), {})
            return request.answer(200, f"<{self.begin_root}><UploadId>{name}</UploadId></{self.begin_root}>".encode())
        upload = self.uploads.get(query["uploadId"])
        if upload is None:
            return request.answer(404, b"<Error><Code>NoSuchUpload</Code></Error>")
        if request.command == "DELETE":
            del self.uploads[query["uploadId"]]
            return request.answer(204)
        if request.command == "PUT":
            return self.serve_part(request, int(query["partNumber"]), body, upload[2])
        if request.command == "GET":
            return request.answer(200, b"<ListPartsResult>" + b"".join(
                b"<Part><PartNumber>%d</PartNumber><Size>%d</Size><ETag>%s</ETag></Part>"
                % (number, len(part[0]), part[1].encode()) for number, part in sorted(upload[2].items()))
                + b"</ListPartsResult>")
        parts = [part for _, part in sorted(upload[2].items())]
        whole = b"".join(part[0] for part in parts)
        etag = hashlib.md5(b"".join(bytes.fromhex(part[1].strip('"')) for part in parts)).hexdigest()
        if self.wrong_whole:
            etag = etag[::-1]
        digest = sha256(b"".join(base64.b64decode(part[2]) for part in parts))
        if self.counted:
            digest += f"-{len(parts)}"
        if self.wrong_whole:
            digest = ""
        version = self.make(key, whole, f'"{etag}-{len(parts)}"', digest, upload[1])
        del self.uploads[query["uploadId"]]
        checksum = f"<ChecksumSHA256>{digest}</ChecksumSHA256>" if digest else ""
        text = (f'<CompleteMultipartUploadResult><ETag>"{etag}-{len(parts)}"</ETag>{checksum}'
                "</CompleteMultipartUploadResult>")
        request.answer(200, text.encode(), [("x-amz-version-id", version)] if self.versions else [])

    def serve_part(self, request, number, body, parts):
        source = request.headers.get("x-amz-copy-source")
        if source and not self.copies:
            return request.answer(501, b"<Error><Code>NotImplemented</Code></Error>")
        if source and self.copies == "CopyPartResult":
            body = self.newest(urllib.parse.unquote(source).removeprefix(f"/{self.bucket}/"))
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        parts[number] = (body, etag, sha256(body))
        if source:
            text = f"<{self.copies}><ETag>{etag}</ETag><ChecksumSHA256>{sha256(body)}</ChecksumSHA256></{self.copies}>"
            return request.answer(200, text.encode())
        return request.answer(200, headers=[("ETag", etag)])

    def make(self, key, data, etag, digest, meta):
        self.made += 1
        version = f"version-{self.made}"
        kept = self.objects.get(key, []) if self.versions else []
        self.objects[key] = [*kept, (version, data, etag, digest, meta)]
        return version


def sha256(data):
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def metadata(request):
    return [(name, value) for name, value in request.headers.items() if name.lower().startswith("x-amz-meta-")]

// SPDX-License-Identifier: Apache-2.0
// A provider in Rust, from the C headers alone (abi.rs): one VM whose one disk is a pattern with
// zeros between. No crates.
mod abi;

use abi::*;
use std::ffi::{c_char, c_void, CStr, CString};
use std::mem::size_of;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};

const MANIFEST: &str = concat!(include_str!("../manifest.json"), "\0");

/// The section the host reads without loading the library. A static of bytes, NUL-terminated.
#[used]
#[link_section = ".hyper_manifest"]
static SECTION: [u8; MANIFEST.len()] = {
    let mut bytes = [0; MANIFEST.len()];
    let text = MANIFEST.as_bytes();
    let mut at = 0;
    while at < text.len() {
        bytes[at] = text[at];
        at += 1;
    }
    bytes
};

static HOST: AtomicPtr<Host> = AtomicPtr::new(null_mut());

fn host() -> &'static Host {
    unsafe { &*HOST.load(Ordering::Acquire) }
}

/// Reports why and returns the status: `return fail(op, NOTFOUND, "…")`.
fn fail(op: *mut Op, code: St, summary: &str, path: Option<&CStr>) -> St {
    let text = CString::new(summary).unwrap_or_default();
    let diag = Diag {
        size: size_of::<Diag>() as u32,
        severity: SEVERITY_ERROR,
        code,
        flags: 0,
        summary: text.as_ptr(),
        detail: null(),
        hint: null(),
        path: path.map_or(null(), CStr::as_ptr),
        native_code: 0,
        retry_after_ns: 0,
        rule: null(),
    };
    (host().report)(op, &diag)
}

/// A flag that this plugin does not know ends a call before it begins.
fn unknown(op: *mut Op) -> St {
    fail(op, UNSUPPORTED, "this plugin does not know a flag of the call", None)
}

fn value(kind: i32) -> Val {
    Val { size: size_of::<Val>() as u32, kind, int: 0, float: 0.0, text: null(), len: 0 }
}

/// The text at a pointer of a document; None where there is no text.
fn text_at(doc: *const Doc, pointer: &CStr) -> Option<String> {
    let mut found = value(0);
    if (host().doc_get)(doc, pointer.as_ptr(), &mut found) != OK || found.kind != VAL_STRING {
        return None;
    }
    let bytes = unsafe { std::slice::from_raw_parts(found.text.cast::<u8>(), found.len as usize) };
    Some(String::from_utf8_lossy(bytes).into_owned())
}

/// An answer, built by the host: no JSON is parsed or printed here.
struct Answer(*mut Doc);

impl Answer {
    fn new() -> Answer {
        Answer((host().doc_new)())
    }
    fn text(self, pointer: &CStr, text: &str) -> Answer {
        let mut from = value(VAL_STRING);
        from.text = text.as_ptr().cast();
        from.len = text.len() as u64;
        (host().doc_set)(self.0, pointer.as_ptr(), &from);
        self
    }
    fn number(self, pointer: &CStr, number: u64) -> Answer {
        let mut from = value(VAL_INT);
        from.int = number as i64;
        (host().doc_set)(self.0, pointer.as_ptr(), &from);
        self
    }
    fn emit(self, to: Emit, arg: *mut c_void) -> St {
        (host().doc_emit)(self.0, c"".as_ptr(), to, arg)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        (host().doc_free)(self.0)
    }
}

struct Connection {
    bytes: u64,
}

fn size_option(options: *const Doc) -> u64 {
    let mut found = value(0);
    let status = (host().doc_get)(options, c"/bytes".as_ptr(), &mut found);
    if status == OK && found.kind == VAL_INT { found.int as u64 } else { 2 << 20 }
}

extern "C" fn connect(op: *mut Op, flags: u32, options: *const Doc, out: *mut *mut c_void) -> St {
    if flags != 0 {
        return unknown(op);
    }
    let bytes = size_option(options);
    if bytes % 512 != 0 {
        return fail(op, CONFIG, "the size is no multiple of 512", Some(c"/bytes"));
    }
    unsafe { *out = Box::into_raw(Box::new(Connection { bytes })).cast() };
    OK
}

extern "C" fn disconnect(connection: *mut c_void, _: *mut Op) {
    drop(unsafe { Box::from_raw(connection.cast::<Connection>()) });
}

extern "C" fn list_vms(_: *mut c_void, op: *mut Op, flags: u32, pattern: *const c_char, to: Emit, arg: *mut c_void) -> St {
    if flags != 0 {
        return unknown(op);
    }
    let pattern = if pattern.is_null() { c"*" } else { unsafe { CStr::from_ptr(pattern) } };
    match pattern.to_bytes() {
        b"*" | b"" | b"demo" => {
            Answer::new().text(c"/ref", "demo").text(c"/name", "demo").number(c"/disks", 1).emit(to, arg)
        }
        _ => OK,
    }
}

extern "C" fn describe_vm(connection: *mut c_void, op: *mut Op, flags: u32, vm: *const c_char, to: Emit, arg: *mut c_void) -> St {
    if flags != 0 {
        return unknown(op);
    }
    if unsafe { CStr::from_ptr(vm) } != c"demo" {
        return fail(op, NOTFOUND, "there is only the VM 'demo'", None);
    }
    let bytes = unsafe { &*connection.cast::<Connection>() }.bytes;
    Answer::new()
        .text(c"/name", "demo")
        .text(c"/disks/-/id", "disk-0")
        .text(c"/disks/0/format", "raw")
        .number(c"/disks/0/capacity_bytes", bytes)
        .text(c"/disks/0/access/-", "seek")
        .text(c"/disks/0/access/-", "extents")
        .emit(to, arg)
}

extern "C" fn open_vm(connection: *mut c_void, op: *mut Op, flags: u32, request: *const Doc, out: *mut *mut c_void) -> St {
    if flags != 0 {
        return unknown(op);
    }
    // What must be understood and is not listed in the headers of 1.0 is not known here.
    if let Some(member) = text_at(request, c"/must_understand/0") {
        return fail(op, UNSUPPORTED, "this plugin does not know a member of the request", CString::new(member).ok().as_deref());
    }
    if text_at(request, c"/vm").as_deref() != Some("demo") {
        return fail(op, NOTFOUND, "there is only the VM 'demo'", None);
    }
    unsafe { *out = connection };
    OK
}

extern "C" fn close_vm(_: *mut c_void, _: *mut Op, _: St) -> St {
    OK
}

const BLOCK: u64 = 4096;

/// Every third block is zero.
fn byte_at(offset: u64) -> u8 {
    if offset / BLOCK % 3 == 2 { 0 } else { (offset % 251) as u8 + 1 }
}

struct Disk {
    bytes: u64,
}

extern "C" fn read_at(disk: *mut c_void, op: *mut Op, flags: u32, offset: u64, buf: *mut c_void, len: u64) -> St {
    if flags != 0 {
        return unknown(op);
    }
    let disk = unsafe { &*disk.cast::<Disk>() };
    match offset.checked_add(len) {
        Some(end) if end <= disk.bytes => {}
        _ => return fail(op, FAIL, "read beyond the end of the disk", None),
    }
    if (host().cancelled)(op) != 0 {
        return CANCELLED;
    }
    let out = unsafe { std::slice::from_raw_parts_mut(buf.cast::<u8>(), len as usize) };
    for (at, byte) in out.iter_mut().enumerate() {
        *byte = byte_at(offset + at as u64);
    }
    OK
}

extern "C" fn extents(_: *mut c_void, op: *mut Op, flags: u32, offset: u64, len: u64, to: EmitExtent, arg: *mut c_void) -> St {
    if flags != 0 {
        return unknown(op);
    }
    let end = offset + len;
    let mut at = offset;
    while at < end {
        let stop = end.min((at / BLOCK + 1) * BLOCK);
        let flags = if at / BLOCK % 3 == 2 { EXTENT_ZERO } else { 0 };
        let status = to(arg, &Extent { offset: at, length: stop - at, flags, reserved: 0 });
        if status != OK {
            return status;
        }
        at = stop;
    }
    OK
}

extern "C" fn close(disk: *mut c_void, _: *mut Op) {
    drop(unsafe { Box::from_raw(disk.cast::<Disk>()) });
}

extern "C" fn open_disk(vm: *mut c_void, op: *mut Op, flags: u32, id: *const c_char, out: *mut Source) -> St {
    if flags & !(OPEN_SEEK | OPEN_STREAM) != 0 {
        return unknown(op);
    }
    if unsafe { CStr::from_ptr(id) } != c"disk-0" {
        return fail(op, NOTFOUND, "there is only the disk 'disk-0'", None);
    }
    let bytes = unsafe { &*vm.cast::<Connection>() }.bytes;
    let mut format = [0; 16];
    for (to, from) in format.iter_mut().zip(b"raw") {
        *to = *from as c_char;
    }
    let table = Source {
        size: 0,
        flags: SOURCE_SEEK | SOURCE_EXTENTS,
        ctx: Box::into_raw(Box::new(Disk { bytes })).cast(),
        length: bytes,
        block_min: 1,
        block_pref: 1 << 20,
        block_max: 0,
        max_parallel: 16,
        format,
        read_at: Some(read_at),
        next: null(),
        borrow: null(),
        release: null(),
        extents: Some(extents),
        locate: null(),
        sibling: null(),
        finish: null(),
        close: Some(close),
        get_ext: null(),
    };
    unsafe {
        // As much as the host's struct holds, whichever of the two is newer.
        let size = (*out).size.min(size_of::<Source>() as u32);
        std::ptr::copy_nonoverlapping((&raw const table).cast::<u8>(), out.cast::<u8>(), size as usize);
        (*out).size = size;
    }
    OK
}

static PROVIDER: Provider = Provider {
    size: size_of::<Provider>() as u32,
    flags: 0,
    connect,
    disconnect,
    list_vms,
    describe_vm,
    preflight: None,
    open_vm,
    open_disk,
    close_vm,
    undo: None,
    get_ext: None,
    vm_get_ext: None,
};

extern "C" fn start(host: *const Host, _: *mut Op) -> St {
    HOST.store(host.cast_mut(), Ordering::Release);
    OK
}

extern "C" fn stop() {}

extern "C" fn validate(op: *mut Op, _: u32, _: *const c_char, options: *const Doc) -> St {
    if size_option(options) % 512 == 0 { OK } else { fail(op, CONFIG, "the size is no multiple of 512", Some(c"/bytes")) }
}

extern "C" fn get(iface: *const c_char) -> *const c_void {
    if unsafe { CStr::from_ptr(iface) } == c"hyper.provider/1" { (&raw const PROVIDER).cast() } else { null() }
}

static PLUGIN: Plugin = Plugin {
    size: size_of::<Plugin>() as u32,
    abi_minor: 0,
    need_minor: 0,
    threads: THREADS_PARALLEL,
    flags: 0,
    id: c"pattern".as_ptr(),
    version: c"0.1.0".as_ptr(),
    manifest_json: (&raw const SECTION).cast(),
    start,
    stop,
    validate: Some(validate),
    get,
};

/// The only symbol.
#[no_mangle]
pub extern "C" fn hyper_plugin_entry_v1(_: *const Hello) -> *const Plugin {
    &PLUGIN
}

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
    };
    (host().report)(op, &diag)
}

fn emit(json: &str, to: Emit, arg: *mut c_void) -> St {
    to(arg, json.as_ptr().cast(), json.len() as u64)
}

struct Connection {
    bytes: u64,
}

fn size_option(cfg: *const Cfg) -> u64 {
    let mut value = Val { size: size_of::<Val>() as u32, kind: 0, int: 0, float: 0.0, text: null(), len: 0 };
    let found = (host().cfg_get)(cfg, c"/bytes".as_ptr(), &mut value);
    if found == OK && value.kind == VAL_INT { value.int as u64 } else { 2 << 20 }
}

extern "C" fn connect(cfg: *const Cfg, op: *mut Op, out: *mut *mut c_void) -> St {
    let bytes = size_option(cfg);
    if bytes % 512 != 0 {
        return fail(op, CONFIG, "the size is no multiple of 512", Some(c"/bytes"));
    }
    unsafe { *out = Box::into_raw(Box::new(Connection { bytes })).cast() };
    OK
}

extern "C" fn disconnect(connection: *mut c_void) {
    drop(unsafe { Box::from_raw(connection.cast::<Connection>()) });
}

extern "C" fn list_vms(_: *mut c_void, _: *mut Op, pattern: *const c_char, to: Emit, arg: *mut c_void) -> St {
    let pattern = if pattern.is_null() { c"*" } else { unsafe { CStr::from_ptr(pattern) } };
    match pattern.to_bytes() {
        b"*" | b"" | b"demo" => emit(r#"{"ref": "demo", "name": "demo", "disks": 1}"#, to, arg),
        _ => OK,
    }
}

extern "C" fn describe_vm(connection: *mut c_void, op: *mut Op, vm: *const c_char, to: Emit, arg: *mut c_void) -> St {
    if unsafe { CStr::from_ptr(vm) } != c"demo" {
        return fail(op, NOTFOUND, "there is only the VM 'demo'", None);
    }
    let bytes = unsafe { &*connection.cast::<Connection>() }.bytes;
    let json = format!(
        r#"{{"name": "demo", "disks": [{{"id": "disk-0", "format": "raw", "capacity_bytes": {bytes}, "access": ["seek", "extents"]}}]}}"#
    );
    emit(&json, to, arg)
}

extern "C" fn open_vm(connection: *mut c_void, op: *mut Op, request: *const c_char, out: *mut *mut c_void) -> St {
    let request = unsafe { CStr::from_ptr(request) }.to_string_lossy();
    if !request.contains(r#""vm":"demo""#) && !request.contains(r#""vm": "demo""#) {
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

extern "C" fn read_at(disk: *mut c_void, op: *mut Op, offset: u64, buf: *mut c_void, len: u64) -> St {
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

extern "C" fn extents(_: *mut c_void, _: *mut Op, offset: u64, len: u64, to: EmitExtent, arg: *mut c_void) -> St {
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

extern "C" fn close(disk: *mut c_void) {
    drop(unsafe { Box::from_raw(disk.cast::<Disk>()) });
}

extern "C" fn open_disk(vm: *mut c_void, op: *mut Op, id: *const c_char, _: u32, out: *mut Source) -> St {
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
};

extern "C" fn start(host: *const Host, _: *mut Op) -> St {
    HOST.store(host.cast_mut(), Ordering::Release);
    OK
}

extern "C" fn stop() {}

extern "C" fn validate(_: *const c_char, cfg: *const Cfg, op: *mut Op) -> St {
    if size_option(cfg) % 512 == 0 { OK } else { fail(op, CONFIG, "the size is no multiple of 512", Some(c"/bytes")) }
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

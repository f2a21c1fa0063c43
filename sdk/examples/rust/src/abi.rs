// SPDX-License-Identifier: Apache-2.0
// What of <hyper/hyper.h> a provider needs, written down from the C headers: the same order, the
// same types. Function slots that may be empty are Option<…>, which is a null pointer in C.
#![allow(dead_code)]
use std::ffi::{c_char, c_void};

pub type St = i32;
pub const OK: St = 0;
pub const FAIL: St = -1;
pub const CANCELLED: St = -2;
pub const UNSUPPORTED: St = -3;
pub const CONFIG: St = -4;
pub const NOTFOUND: St = -6;

pub const SEVERITY_ERROR: i32 = 2;
pub const VAL_INT: i32 = 2;
pub const VAL_STRING: i32 = 4;
pub const VAL_ARRAY: i32 = 5;
pub const THREADS_PARALLEL: i32 = 2;
pub const OPEN_SEEK: u32 = 1;
pub const OPEN_STREAM: u32 = 2;
pub const SOURCE_SEEK: u32 = 1;
pub const SOURCE_EXTENTS: u32 = 4;
pub const EXTENT_ZERO: u32 = 1;

/// Owned by the host: only ever seen through a pointer.
#[repr(C)]
pub struct Op {
    _opaque: [u8; 0],
}
#[repr(C)]
pub struct Doc {
    _opaque: [u8; 0],
}

pub type Emit = extern "C" fn(*mut c_void, *const c_char, u64) -> St;
pub type EmitExtent = extern "C" fn(*mut c_void, *const Extent) -> St;

#[repr(C)]
pub struct Diag {
    pub size: u32,
    pub severity: i32,
    pub code: St,
    pub flags: u32,
    pub summary: *const c_char,
    pub detail: *const c_char,
    pub hint: *const c_char,
    pub path: *const c_char,
    pub native_code: i64,
    pub retry_after_ns: u64,
    pub rule: *const c_char,
}

#[repr(C)]
pub struct Val {
    pub size: u32,
    pub kind: i32,
    pub int: i64,
    pub float: f64,
    pub text: *const c_char,
    pub len: u64,
}

#[repr(C)]
pub struct Extent {
    pub offset: u64,
    pub length: u64,
    pub flags: u32,
    pub reserved: u32,
}

#[repr(C)]
pub struct Host {
    pub size: u32,
    pub abi_minor: u32,
    pub get_ext: extern "C" fn(*const c_char) -> *const c_void,
    pub report: extern "C" fn(*mut Op, *const Diag) -> St,
    pub log: extern "C" fn(*mut Op, i32, *const c_char, *const Doc),
    pub progress: extern "C" fn(*mut Op, u64, u64, *const c_char),
    pub cancelled: extern "C" fn(*mut Op) -> i32,
    pub cancel_fd: extern "C" fn(*mut Op) -> i32,
    pub sleep: extern "C" fn(*mut Op, u64) -> St,
    pub doc_get: extern "C" fn(*const Doc, *const c_char, *mut Val) -> St,
    pub doc_key: extern "C" fn(*const Doc, *const c_char, u64, *mut Val) -> St,
    pub doc_emit: extern "C" fn(*const Doc, *const c_char, Emit, *mut c_void) -> St,
    pub doc_parse: extern "C" fn(*const c_char, u64, *mut *mut Doc) -> St,
    pub doc_new: extern "C" fn() -> *mut Doc,
    pub doc_set: extern "C" fn(*mut Doc, *const c_char, *const Val) -> St,
    pub doc_copy: extern "C" fn(*mut Doc, *const c_char, *const Doc, *const c_char) -> St,
    pub doc_free: extern "C" fn(*mut Doc),
    pub buf_alloc: extern "C" fn(u64) -> *mut c_void,
    pub buf_free: extern "C" fn(*mut c_void),
}

#[repr(C)]
pub struct Source {
    pub size: u32,
    pub flags: u32,
    pub ctx: *mut c_void,
    pub length: u64,
    pub block_min: u32,
    pub block_pref: u32,
    pub block_max: u32,
    pub max_parallel: u32,
    pub format: [c_char; 16],
    pub read_at: Option<extern "C" fn(*mut c_void, *mut Op, u32, u64, *mut c_void, u64) -> St>,
    pub next: *const c_void,
    pub borrow: *const c_void,
    pub release: *const c_void,
    pub extents: Option<extern "C" fn(*mut c_void, *mut Op, u32, u64, u64, EmitExtent, *mut c_void) -> St>,
    pub locate: *const c_void,
    pub sibling: *const c_void,
    pub finish: *const c_void,
    pub close: Option<extern "C" fn(*mut c_void, *mut Op)>,
    pub get_ext: *const c_void,
}

#[repr(C)]
pub struct Provider {
    pub size: u32,
    pub flags: u32,
    pub connect: extern "C" fn(*mut Op, u32, *const Doc, *mut *mut c_void) -> St,
    pub disconnect: extern "C" fn(*mut c_void, *mut Op),
    pub list_vms: extern "C" fn(*mut c_void, *mut Op, u32, *const c_char, Emit, *mut c_void) -> St,
    pub describe_vm: extern "C" fn(*mut c_void, *mut Op, u32, *const c_char, Emit, *mut c_void) -> St,
    pub preflight: Option<extern "C" fn(*mut c_void, *mut Op, u32, *const Doc) -> St>,
    pub open_vm: extern "C" fn(*mut c_void, *mut Op, u32, *const Doc, *mut *mut c_void) -> St,
    pub open_disk: extern "C" fn(*mut c_void, *mut Op, u32, *const c_char, *mut Source) -> St,
    pub close_vm: extern "C" fn(*mut c_void, *mut Op, St) -> St,
    pub undo: Option<extern "C" fn(*mut c_void, *mut Op, u32, *const Doc) -> St>,
    pub get_ext: Option<extern "C" fn(*mut c_void, *const c_char, *mut *mut c_void) -> *const c_void>,
    pub vm_get_ext: Option<extern "C" fn(*mut c_void, *const c_char, *mut *mut c_void) -> *const c_void>,
}

#[repr(C)]
pub struct Plugin {
    pub size: u32,
    pub abi_minor: u16,
    pub need_minor: u16,
    pub threads: i32,
    pub flags: u32,
    pub id: *const c_char,
    pub version: *const c_char,
    pub manifest_json: *const c_char,
    pub start: extern "C" fn(*const Host, *mut Op) -> St,
    pub stop: extern "C" fn(),
    pub validate: Option<extern "C" fn(*mut Op, u32, *const c_char, *const Doc) -> St>,
    pub get: extern "C" fn(*const c_char) -> *const c_void,
}
// Constant and without interior mutability: any thread may read it.
unsafe impl Sync for Plugin {}

#[repr(C)]
pub struct Hello {
    pub size: u32,
    pub host_minor: u16,
    pub oldest_minor: u16,
    pub refusal: *mut c_char,
    pub refusal_cap: u64,
}

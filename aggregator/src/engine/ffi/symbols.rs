//! The functions of `chdb.h` that are used, with their C signatures.

use std::ffi::{c_char, c_int, c_void};

/// `chdb_query_analysis_v1`.
#[repr(C)]
#[derive(Default)]
pub(super) struct Analysis {
    pub struct_size: u32,
    pub statement_count: u32,
    pub flags: u32,
    pub query_class: u32,
}

/// Connection, text, format, then names, their lengths, values, their lengths, and how many.
type WithParameters = unsafe extern "C" fn(
    *mut c_void,
    *const c_char,
    usize,
    *const c_char,
    usize,
    *const *const c_char,
    *const usize,
    *const *const c_char,
    *const usize,
    usize,
) -> *mut c_void;

macro_rules! symbols {
    ($($field:ident = $name:literal: $type:ty),+ $(,)?) => {
        /// Pointers to the functions, and the library that they point into.
        pub(super) struct Symbols {
            $(pub $field: $type,)+
        }

        impl Symbols {
            /// Finds them all. The library is never unloaded, so the pointers hold for good.
            pub(super) fn find(library: libloading::Library) -> Result<Self, libloading::Error> {
                let library: &'static libloading::Library = Box::leak(Box::new(library));
                // SAFETY: each type below is the function's signature in the header of the pinned version,
                // and the library is leaked, so no pointer outlives it.
                Ok(unsafe { Self { $($field: *library.get::<$type>($name)?,)+ } })
            }
        }
    };
}

symbols! {
    version = c"chdb_version": unsafe extern "C" fn() -> *const c_char,
    set_signal_handlers_enabled = c"chdb_set_signal_handlers_enabled": unsafe extern "C" fn(c_int),
    connect = c"chdb_connect": unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut *mut c_void,
    close_conn = c"chdb_close_conn": unsafe extern "C" fn(*mut *mut c_void),
    shutdown = c"chdb_shutdown": unsafe extern "C" fn() -> c_int,
    query_with_params_n = c"chdb_query_with_params_n": WithParameters,
    stream_query_with_params_n = c"chdb_stream_query_with_params_n": WithParameters,
    stream_fetch_result = c"chdb_stream_fetch_result": unsafe extern "C" fn(*mut c_void, *mut c_void) -> *mut c_void,
    stream_cancel_query = c"chdb_stream_cancel_query": unsafe extern "C" fn(*mut c_void, *mut c_void),
    stream_insert_with_params_n = c"chdb_stream_insert_with_params_n": WithParameters,
    stream_append = c"chdb_stream_append": unsafe extern "C" fn(*mut c_void, *const c_void, usize) -> c_int,
    stream_done = c"chdb_stream_done": unsafe extern "C" fn(*mut c_void) -> *mut c_void,
    stream_insert_error = c"chdb_stream_insert_error": unsafe extern "C" fn(*mut c_void) -> *const c_char,
    destroy_insert_stream = c"chdb_destroy_insert_stream": unsafe extern "C" fn(*mut c_void),
    result_buffer = c"chdb_result_buffer": unsafe extern "C" fn(*mut c_void) -> *mut c_char,
    result_length = c"chdb_result_length": unsafe extern "C" fn(*mut c_void) -> usize,
    result_error = c"chdb_result_error": unsafe extern "C" fn(*mut c_void) -> *const c_char,
    destroy_query_result = c"chdb_destroy_query_result": unsafe extern "C" fn(*mut c_void),
    classify_query_n = c"chdb_classify_query_n":
        unsafe extern "C" fn(*mut c_void, *const c_char, usize, *const c_char, usize, *mut Analysis) -> c_int,
}

//! libchdb, the C interface of the ClickHouse engine, behind safe types.
#![allow(
    unsafe_code,
    reason = "the engine is a C library loaded at run time; this is the only module of the project with unsafe code"
)]

mod symbols;

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

use super::exception::Exception;
use symbols::{Analysis, Symbols};

/// Why libchdb could not be loaded.
#[derive(Debug, thiserror::Error)]
#[error("cannot be loaded as libchdb: {0}")]
pub struct LoadError(String);

/// The loaded library. It is never unloaded: the engine's threads live as long as the process.
pub struct Library {
    symbols: Symbols,
}

/// What a text would do, as the engine's own parser sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classified {
    /// How many statements would run; 0 when the text does not parse.
    pub statements: u32,
    /// What they do, the most far-reaching one.
    pub class: Class,
}

/// What a statement does to state that outlives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// SELECT, SHOW, DESCRIBE, EXPLAIN, EXISTS, CHECK.
    Read,
    /// Changes a database, or something beside the databases.
    Mutate,
    /// SET, USE, SYSTEM, KILL, BACKUP, INTO OUTFILE …
    Control,
    /// Does not parse, or is of a kind that the engine does not classify.
    Unknown,
}

/// A `{name:Type}` placeholder's name and value.
pub type Parameter = (String, String);

impl Library {
    /// Loads the library and finds every function that is used. Turns the library's signal handlers off:
    /// signals belong to this process.
    ///
    /// # Errors
    /// It is not there, is of another architecture, or lacks a function.
    pub fn open(path: &Path) -> Result<Arc<Self>, LoadError> {
        // SAFETY: loading runs the library's constructors. The file is libchdb of the pinned version, whose
        // digest was checked, or was named by the operator; its constructors have no preconditions.
        let library = unsafe { libloading::Library::new(path) }.map_err(|error| LoadError(error.to_string()))?;
        let symbols = Symbols::find(library).map_err(|error| LoadError(error.to_string()))?;
        // SAFETY: takes an int and may be called at any time before the first connection.
        unsafe { (symbols.set_signal_handlers_enabled)(0) };
        Ok(Arc::new(Self { symbols }))
    }

    /// The library's version, `26.7.3`.
    pub fn version(&self) -> String {
        // SAFETY: takes nothing and returns a string with a NUL that is never freed.
        let text = unsafe { (self.symbols.version)() };
        if text.is_null() {
            return String::new();
        }
        // SAFETY: not null (checked), NUL-terminated and static, as the header promises.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }

    /// A new connection; the first one starts the engine on `arguments`' `--path`. `None` without a reason
    /// when the engine refuses: the library prints the reason to standard error.
    pub fn connect(self: &Arc<Self>, arguments: &[&str]) -> Option<Connection> {
        let arguments: Vec<CString> = std::iter::once("varde")
            .chain(arguments.iter().copied())
            .map(CString::new)
            .collect::<Result<_, _>>()
            .ok()?;
        let mut pointers: Vec<*mut c_char> = arguments.iter().map(|text| text.as_ptr().cast_mut()).collect();
        let count = c_int::try_from(pointers.len()).ok()?;
        // SAFETY: `pointers` holds `count` strings with a NUL that outlive the call; the library copies them
        // and writes to neither.
        let outer = NonNull::new(unsafe { (self.symbols.connect)(count, pointers.as_mut_ptr()) })?;
        Some(Connection { library: Arc::clone(self), outer })
    }

    /// Stops the engine after the last connection is closed. Whether every thread of it has ended.
    pub fn shutdown(&self) -> bool {
        // SAFETY: takes nothing; with a connection still open it does nothing.
        unsafe { (self.symbols.shutdown)() == 0 }
    }

    /// Ends the process at once. Its way out through `exit` runs the library's destructors, which crash under
    /// threads that still run queries.
    pub fn abandon(&self) -> ! {
        unsafe extern "C" {
            fn _exit(status: c_int) -> !;
        }
        // SAFETY: takes an int and does not return; nothing is flushed, and nothing of ours waits to be.
        unsafe { _exit(0) }
    }

    /// Takes a result's bytes and frees it.
    fn take(&self, result: *mut c_void) -> Result<Vec<u8>, Exception> {
        let result = Owned { library: self, result };
        if result.result.is_null() {
            return Err(Exception::new(0, "CLOSED", "the engine gave no result: the connection is closed"));
        }
        // SAFETY: the result is live until `Owned` is dropped; the error is a string with a NUL or null.
        let error = unsafe { (self.symbols.result_error)(result.result) };
        if !error.is_null() {
            // SAFETY: not null (checked), NUL-terminated, and owned by the live result.
            let text = unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned();
            return Err(Exception::from_engine(text));
        }
        // SAFETY: the result is live; both only read it.
        let (data, length) =
            unsafe { ((self.symbols.result_buffer)(result.result), (self.symbols.result_length)(result.result)) };
        if data.is_null() || length == 0 {
            return Ok(Vec::new());
        }
        // SAFETY: the library says that `length` bytes at `data` belong to the live result.
        Ok(unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length) }.to_vec())
    }
}

/// A result that is freed when it is dropped.
struct Owned<'a> {
    library: &'a Library,
    result: *mut c_void,
}

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        if !self.result.is_null() {
            // SAFETY: the result came from the library, is not null and is freed only here.
            unsafe { (self.library.symbols.destroy_query_result)(self.result) };
        }
    }
}

/// Names and values as the four arrays that the C functions take. They point into the parameters.
struct Bound<'a> {
    names: Vec<*const c_char>,
    name_lengths: Vec<usize>,
    values: Vec<*const c_char>,
    value_lengths: Vec<usize>,
    parameters: PhantomData<&'a [Parameter]>,
}

impl<'a> Bound<'a> {
    fn new(parameters: &'a [Parameter]) -> Self {
        Self {
            names: parameters.iter().map(|(name, _)| name.as_ptr().cast()).collect(),
            name_lengths: parameters.iter().map(|(name, _)| name.len()).collect(),
            values: parameters.iter().map(|(_, value)| value.as_ptr().cast()).collect(),
            value_lengths: parameters.iter().map(|(_, value)| value.len()).collect(),
            parameters: PhantomData,
        }
    }
}

/// A connection: a session with its own database, roles and settings. One statement at a time.
pub struct Connection {
    library: Arc<Library>,
    outer: NonNull<*mut c_void>,
}

// SAFETY: the library serialises what a connection does and ties it to no thread. It is not Sync: a
// connection runs one statement at a time, which the exclusive borrows of streams ensure.
unsafe impl Send for Connection {}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: `outer` came from `chdb_connect` and is closed only here; streams borrow the connection
        // and so have ended.
        unsafe { (self.library.symbols.close_conn)(self.outer.as_ptr()) };
    }
}

impl Connection {
    fn handle(&self) -> *mut c_void {
        // SAFETY: `outer` points to the handle until `chdb_close_conn`, which only `drop` calls.
        unsafe { *self.outer.as_ptr() }
    }

    /// Runs a text and gives the whole answer in `format`, unless the text names another.
    ///
    /// # Errors
    /// The engine's exception.
    pub fn query(&mut self, sql: &str, format: &str, parameters: &[Parameter]) -> Result<Vec<u8>, Exception> {
        let bound = Bound::new(parameters);
        // SAFETY: every pointer goes with its length, the four arrays have `parameters.len()` entries, and
        // all of them outlive the call.
        let result = unsafe {
            (self.library.symbols.query_with_params_n)(
                self.handle(),
                sql.as_ptr().cast(),
                sql.len(),
                format.as_ptr().cast(),
                format.len(),
                bound.names.as_ptr(),
                bound.name_lengths.as_ptr(),
                bound.values.as_ptr(),
                bound.value_lengths.as_ptr(),
                parameters.len(),
            )
        };
        self.library.take(result)
    }

    /// Begins a SELECT whose answer comes in pieces, each a whole document of `format`.
    ///
    /// # Errors
    /// The engine's exception.
    pub fn stream(&mut self, sql: &str, format: &str, parameters: &[Parameter]) -> Result<Stream<'_>, Exception> {
        let bound = Bound::new(parameters);
        // SAFETY: as in `query`.
        let result = unsafe {
            (self.library.symbols.stream_query_with_params_n)(
                self.handle(),
                sql.as_ptr().cast(),
                sql.len(),
                format.as_ptr().cast(),
                format.len(),
                bound.names.as_ptr(),
                bound.name_lengths.as_ptr(),
                bound.values.as_ptr(),
                bound.value_lengths.as_ptr(),
                parameters.len(),
            )
        };
        // SAFETY: the error of a live, non-null result is a string with a NUL or null.
        if result.is_null() || !unsafe { (self.library.symbols.result_error)(result) }.is_null() {
            return Err(self.library.take(result).err().unwrap_or_else(|| Exception::new(0, "CLOSED", "no result")));
        }
        Ok(Stream { connection: self, result, ended: false })
    }

    /// Runs an INSERT with its data. `head` has no FORMAT clause; `data` is in `format`.
    ///
    /// # Errors
    /// The engine's exception: then nothing may be assumed to be there, and nothing to be absent.
    pub fn insert(&mut self, head: &str, format: &str, parameters: &[Parameter], data: &[u8]) -> Result<(), Exception> {
        let bound = Bound::new(parameters);
        // SAFETY: as in `query`.
        let stream = unsafe {
            (self.library.symbols.stream_insert_with_params_n)(
                self.handle(),
                head.as_ptr().cast(),
                head.len(),
                format.as_ptr().cast(),
                format.len(),
                bound.names.as_ptr(),
                bound.name_lengths.as_ptr(),
                bound.values.as_ptr(),
                bound.value_lengths.as_ptr(),
                parameters.len(),
            )
        };
        let stream = InsertStream { connection: self, stream };
        stream.failure()?;
        stream.append(data);
        stream.done()
    }

    /// Says what a text would do, without running it. `None` when the engine cannot say.
    pub fn classify(&mut self, sql: &str) -> Option<Classified> {
        let mut analysis = Analysis { struct_size: size_of::<Analysis>() as u32, ..Analysis::default() };
        // SAFETY: the text goes with its length; a null database of length 0 asks for no judgement about
        // one; `analysis` is as large as its first field says.
        let state = unsafe {
            (self.library.symbols.classify_query_n)(
                self.handle(),
                sql.as_ptr().cast(),
                sql.len(),
                std::ptr::null(),
                0,
                &raw mut analysis,
            )
        };
        (state == 0).then_some(Classified {
            statements: analysis.statement_count,
            class: match analysis.query_class {
                0 => Class::Read,
                1 | 2 => Class::Mutate,
                3 => Class::Control,
                _ => Class::Unknown,
            },
        })
    }
}

/// An answer that comes in pieces. Dropping it before its end cancels the query.
pub struct Stream<'a> {
    connection: &'a mut Connection,
    result: *mut c_void,
    ended: bool,
}

impl Stream<'_> {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// The engine's exception; the stream has ended.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, Exception> {
        if self.ended {
            return Ok(None);
        }
        let library = &self.connection.library;
        // SAFETY: the connection and the stream's result are live, and `&mut self` keeps fetches in order.
        let piece = unsafe { (library.symbols.stream_fetch_result)(self.connection.handle(), self.result) };
        let piece = library.take(piece);
        self.ended = !matches!(&piece, Ok(bytes) if !bytes.is_empty());
        piece.map(|bytes| (!bytes.is_empty()).then_some(bytes))
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        let symbols = &self.connection.library.symbols;
        if !self.ended {
            // SAFETY: the connection and the result are live.
            unsafe { (symbols.stream_cancel_query)(self.connection.handle(), self.result) };
        }
        // SAFETY: the result came from the library, is not null and is freed only here.
        unsafe { (symbols.destroy_query_result)(self.result) };
    }
}

/// An INSERT under way. Dropping it before `done` cancels it.
struct InsertStream<'a> {
    connection: &'a mut Connection,
    stream: *mut c_void,
}

impl InsertStream<'_> {
    fn failure(&self) -> Result<(), Exception> {
        if self.stream.is_null() {
            return Err(Exception::new(0, "CLOSED", "the engine opened no insert: the connection is closed"));
        }
        // SAFETY: the stream is live and not null; the error is a string with a NUL or null.
        let error = unsafe { (self.connection.library.symbols.stream_insert_error)(self.stream) };
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: not null (checked), NUL-terminated, and owned by the live stream.
        Err(Exception::from_engine(unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned()))
    }

    /// Hands the data over. A failure shows in `done`, with its reason.
    fn append(&self, data: &[u8]) {
        // SAFETY: the stream is live, `data` goes with its length and is copied.
        unsafe { (self.connection.library.symbols.stream_append)(self.stream, data.as_ptr().cast(), data.len()) };
    }

    fn done(self) -> Result<(), Exception> {
        // SAFETY: the stream is live, and `self` is consumed: this is called once.
        let result = unsafe { (self.connection.library.symbols.stream_done)(self.stream) };
        self.connection.library.take(result).map(drop)
    }
}

impl Drop for InsertStream<'_> {
    fn drop(&mut self) {
        if !self.stream.is_null() {
            // SAFETY: the stream came from the library, is not null and is freed only here; the library
            // cancels first what was not finished.
            unsafe { (self.connection.library.symbols.destroy_insert_stream)(self.stream) };
        }
    }
}

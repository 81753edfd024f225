//! The disk by SQLite's C interface. One connection at a time: locks are always granted.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{Ordering, fence};

use rusqlite::ffi;

use super::fault::Call;
use super::{Disk, Op, VFS, cut};

/// What SQLite holds of an open file: its part first, then ours.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    handle: *mut Handle,
}

struct Handle {
    disk: Disk,
    file: usize,
    name: String,
    /// Its first sync syncs the folder too: SQLite does so for the journals and WALs that it makes.
    syncs_folder: bool,
    delete_on_close: bool,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(is_reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// Makes [`VFS`] known to SQLite. Once in a process.
pub(crate) fn register() {
    // SAFETY: the structure is a copy of the system's own with our calls in it, and lives for ever.
    unsafe {
        ffi::sqlite3_initialize();
        let system = ffi::sqlite3_vfs_find(ptr::null());
        assert!(!system.is_null());
        let name = std::ffi::CString::new(VFS).unwrap().into_raw();
        let vfs = Box::new(ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: c_int::try_from(size_of::<File>()).unwrap(),
            pNext: ptr::null_mut(),
            zName: name,
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            ..*system
        });
        assert_eq!(ffi::sqlite3_vfs_register(Box::into_raw(vfs), 0), ffi::SQLITE_OK);
    }
}

/// # Safety
/// SQLite gives a text that ends with zero.
unsafe fn found(path: *const c_char) -> Option<(Disk, String)> {
    // SAFETY: see above.
    Disk::of(unsafe { CStr::from_ptr(path) }.to_str().ok()?)
}

/// # Safety
/// The file was opened by [`open`] and is not closed.
unsafe fn handle<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Handle {
    // SAFETY: see above; SQLite uses a file from one thread at a time.
    unsafe { &mut *(*file.cast::<File>()).handle }
}

fn code(result: Result<(), c_int>) -> c_int {
    result.err().unwrap_or(ffi::SQLITE_OK)
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    path: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives room for a `File`; without methods it does not close it.
    unsafe {
        (*file).pMethods = ptr::null();
        // Temporary files stay in memory (`temp_store`), so every file has a name.
        if path.is_null() {
            return ffi::SQLITE_CANTOPEN;
        }
        let Some((disk, name)) = found(path) else { return ffi::SQLITE_CANTOPEN };
        let opened = {
            let mut state = disk.state();
            if let Err(code) = state.call(Call::Open) {
                return code;
            }
            if flags & ffi::SQLITE_OPEN_CREATE == 0 && !state.names.contains_key(&name) {
                return ffi::SQLITE_CANTOPEN;
            }
            state.open(&name)
        };
        let journal = ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL;
        let handle = Handle {
            disk,
            file: opened.0,
            name,
            syncs_folder: opened.1 && flags & journal != 0,
            delete_on_close: flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0,
        };
        (*file.cast::<File>()).handle = Box::into_raw(Box::new(handle));
        (*file).pMethods = &METHODS;
        if !out.is_null() {
            *out = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: made by `open`, closed once.
    let handle = unsafe { Box::from_raw((*file.cast::<File>()).handle) };
    if handle.delete_on_close {
        handle.disk.state().delete(&handle.name);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, into: *mut c_void, n: c_int, at: i64) -> c_int {
    // SAFETY: SQLite gives room for `n` bytes.
    let (handle, into) = unsafe { (handle(file), std::slice::from_raw_parts_mut(into.cast::<u8>(), n as usize)) };
    let mut state = handle.disk.state();
    if let Err(code) = state.call(Call::Read) {
        return code;
    }
    let content = &state.files[handle.file];
    let from = content.len().min(at as usize);
    let some = into.len().min(content.len() - from);
    into[..some].copy_from_slice(&content[from..from + some]);
    into[some..].fill(0);
    if some < into.len() { ffi::SQLITE_IOERR_SHORT_READ } else { ffi::SQLITE_OK }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, data: *const c_void, n: c_int, at: i64) -> c_int {
    // SAFETY: SQLite gives `n` bytes.
    let (handle, data) = unsafe { (handle(file), std::slice::from_raw_parts(data.cast::<u8>(), n as usize)) };
    let mut state = handle.disk.state();
    if let Err(code) = state.call(Call::Write) {
        if state.short() {
            state.write(handle.file, at as usize, &data[..data.len() / 2]);
        }
        return code;
    }
    if state.write(handle.file, at as usize, data) < data.len() { ffi::SQLITE_FULL } else { ffi::SQLITE_OK }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, len: i64) -> c_int {
    // SAFETY: an open file.
    let handle = unsafe { handle(file) };
    let mut state = handle.disk.state();
    let len = len as usize;
    code(state.call(Call::Truncate).map(|()| {
        if len <= state.files[handle.file].len() {
            state.files[handle.file].truncate(len);
            state.log.push(Op::Truncate { file: handle.file, len });
        } else {
            cut::write(&mut state.files[handle.file], len - 1, &[0]);
            state.log.push(Op::Write { file: handle.file, at: len - 1, data: [0].as_slice().into() });
        }
    }))
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: an open file.
    let handle = unsafe { handle(file) };
    let mut state = handle.disk.state();
    if let Err(code) = state.sync(handle.file) {
        return code;
    }
    if std::mem::take(&mut handle.syncs_folder) {
        state.log.push(Op::Folder);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn size(file: *mut ffi::sqlite3_file, len: *mut i64) -> c_int {
    // SAFETY: an open file, and room for the answer.
    let handle = unsafe { handle(file) };
    let mut state = handle.disk.state();
    // SAFETY: see above.
    code(state.call(Call::Size).map(|()| unsafe { *len = state.files[handle.file].len() as i64 }))
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: an open file.
    code(unsafe { handle(file) }.disk.state().call(Call::Lock))
}

unsafe extern "C" fn unlock(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn is_reserved(_: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: room for the answer.
    unsafe { *out = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    4096
}

/// As SQLite takes it of every Unix system.
unsafe extern "C" fn characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: an open file, and room for the answer.
    let handle = unsafe { handle(file) };
    let mut state = handle.disk.state();
    if let Err(code) = state.call(Call::SharedMemory) {
        return code;
    }
    let region = region as usize;
    let shared = state.shared.entry(handle.file).or_default();
    while extend != 0 && shared.len() <= region {
        shared.push(vec![0; size as usize / size_of::<u64>()].into_boxed_slice());
    }
    let page = shared.get_mut(region).map_or(ptr::null_mut(), |page| page.as_mut_ptr().cast());
    // SAFETY: see above; the page stays where it is until the last connection lets go of it.
    unsafe { *out = page };
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_lock(_: *mut ffi::sqlite3_file, _: c_int, _: c_int, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_barrier(_: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: an open file; the only connection, so nobody uses the memory any more.
    let handle = unsafe { handle(file) };
    handle.disk.state().shared.remove(&handle.file);
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, path: *const c_char, sync_folder: c_int) -> c_int {
    // SAFETY: a text of SQLite's.
    let Some((disk, name)) = (unsafe { found(path) }) else { return ffi::SQLITE_IOERR_DELETE_NOENT };
    let mut state = disk.state();
    if let Err(code) = state.call(Call::Delete) {
        return code;
    }
    if !state.delete(&name) {
        return ffi::SQLITE_IOERR_DELETE_NOENT;
    }
    if sync_folder != 0 {
        state.log.push(Op::Folder);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn access(_: *mut ffi::sqlite3_vfs, path: *const c_char, flags: c_int, out: *mut c_int) -> c_int {
    // SAFETY: a text of SQLite's, and room for the answer.
    let Some((disk, name)) = (unsafe { found(path) }) else { return ffi::SQLITE_IOERR_ACCESS };
    let mut state = disk.state();
    if let Err(code) = state.call(Call::Access) {
        return code;
    }
    // An empty file counts as none, as on Unix.
    let there =
        state.names.get(&name).is_some_and(|f| flags != ffi::SQLITE_ACCESS_EXISTS || !state.files[*f].is_empty());
    // SAFETY: see above.
    unsafe { *out = c_int::from(there) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    _: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: a text of SQLite's, and `room` bytes for the answer.
    unsafe {
        let path = CStr::from_ptr(path).to_bytes_with_nul();
        if path.len() > room as usize {
            return ffi::SQLITE_CANTOPEN;
        }
        ptr::copy_nonoverlapping(path.as_ptr().cast(), out, path.len());
    }
    ffi::SQLITE_OK
}

import Glibc

/// The advisory lock of a folder, held while a socket in it is looked at and replaced.
///
/// Every daemon takes it before it touches the folder, so none can take away a socket that another has bound and not
/// yet listened on. It is let go when this value ends, also when the process does.
struct FolderLock: ~Copyable {
    let fileDescriptor: CInt

    /// Waits at most ``UnixListener/lockWaitMilliseconds``.
    init(folder: String, for path: String) throws(ListenerError) {
        let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if descriptor < 0 {
            switch errno {
            case ENOENT: throw .missingFolder(path: path, folder: folder)
            case ENOTDIR: throw .invalidPath(path: path, reason: "\(folder) is not a folder")
            default: throw .system(address: path, call: "open folder \(folder)", errorNumber: errno)
            }
        }
        let pauseMilliseconds: CInt = 10
        for _ in 0..<(UnixListener.lockWaitMilliseconds / Int(pauseMilliseconds)) {
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 {
                fileDescriptor = descriptor
                return
            }
            poll(nil, 0, pauseMilliseconds)
        }
        close(descriptor)
        throw .folderLocked(path: path, folder: folder)
    }

    /// What has that name in the folder (a link itself, not its target), or nil with `errno`.
    func status(of name: String) -> stat? {
        var status = stat()
        return fstatat(fileDescriptor, name, &status, AT_SYMLINK_NOFOLLOW) == 0 ? status : nil
    }

    deinit {
        close(fileDescriptor)
    }
}

import Glibc

/// Ends what tests have started also where the test process itself is ended before it can do so.
///
/// A shell reads the ids of running children from a pipe whose other end only this process holds. When that ends, in
/// whichever way, the shell's input does too, and it ends the children that are left, by their ids.
enum ChildGuard {
    private static let script = """
        trap '' INT TERM HUP
        p=' '
        while read -r what id; do
          if [ "$what" = started ]; then p="$p$id "; else p="${p%% $id *} ${p#* $id }"; fi
        done
        for id in $p; do kill -KILL "$id"; done 2>/dev/null
        """

    /// The end to write to; -1 where there is no guard, and nothing is guarded.
    private static let pipe: CInt = {
        var ends: [CInt] = [-1, -1]
        // A pair of sockets, since a pipe cannot be made that is closed on exec from its first moment without pipe2.
        let type = CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, type, 0, &ends) == 0 else { return -1 }
        defer { close(ends[0]) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO)
        // Whoever reads the test's output until its end must not wait for the guard.
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0)
        var argv = (["/bin/sh", "-c", script] as [String]).map { strdup($0) } + [nil]
        var envp = (["PATH=/usr/bin:/bin"] as [String]).map { strdup($0) } + [nil]
        defer { for text in argv + envp { free(text) } }
        var id: pid_t = 0
        guard posix_spawn(&id, "/bin/sh", &actions, nil, &argv, &envp) == 0 else { return -1 }
        return ends[1]
    }()

    static func started(_ id: pid_t) { tell("started \(id)\n") }

    static func ended(_ id: pid_t) { tell("ended \(id)\n") }

    /// One write of a short line, which is whole whoever else writes.
    private static func tell(_ line: String) {
        let bytes = Array(line.utf8)
        if pipe >= 0 { _ = write(pipe, bytes, bytes.count) }
    }
}

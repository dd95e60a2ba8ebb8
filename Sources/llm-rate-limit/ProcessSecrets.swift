import CProcess
import DaemonConfiguration
import Glibc

/// Keeps the secrets that a process was given from everybody who can look at the process.
enum ProcessSecrets {
    /// Overwrites passwords in the arguments, where `ps` and `/proc/<pid>/cmdline` show them to every user.
    ///
    /// To be called while the process has one thread, and after Swift has made its own copy of the arguments.
    static func blankArguments() {
        for (index, argument) in CommandLine.arguments.enumerated().dropFirst() {
            overwrite(CommandLine.unsafeArgv[index], with: masked(argument, behind: CommandLine.arguments[index - 1]))
        }
    }

    /// Overwrites passwords in the environment, where `/proc/<pid>/environ` shows them to the same user and to root.
    ///
    /// To be called while nobody else reads the environment, and after the configuration has its copy of it.
    static func blankEnvironment() {
        for option in secretOptions {
            guard let text = getenv(option.name.variable) else { continue }
            overwrite(text, with: option.masked(String(cString: text)))
        }
    }

    /// Makes the memory of this process readable by root alone, and by no file: no core dump, no debugger of the same
    /// user, no report of a crash with what the registers point to.
    static func keepMemoryPrivate() {
        // Cannot fail with these arguments.
        _ = forbid_core_dumps()
        // Swift's own handlers would print 16 bytes of memory for each register. Without them the signal's number and
        // the text of a failed precondition are what is left of a crash.
        for number in [SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGABRT, SIGFPE, SIGQUIT] { signal(number, SIG_DFL) }
    }

    /// A text for people, in which an argument may stand, without the passwords of the arguments.
    static func masked(message: String) -> String {
        CommandLine.arguments.dropFirst().reduce(message) { message, argument in
            let shown = masked(argument, behind: "")
            return shown == argument ? message : message.replacing(argument, with: shown)
        }
    }

    private static let secretOptions = OptionCatalogue.all.filter(\.isSecret)

    /// An argument as it may be shown, with the one before it that may be its flag.
    static func masked(_ argument: String, behind previous: String) -> String {
        for option in secretOptions {
            let start = "\(option.name.flag)="
            if argument.hasPrefix(start) { return start + option.masked(String(argument.dropFirst(start.count))) }
            if previous == option.name.flag { return option.masked(argument) }
        }
        // A URL with a login is a mistake in any other place, and no less secret for that.
        guard argument.contains("://"), argument.contains("@") else { return argument }
        return OptionCatalogue[.redisURL].masked(argument)
    }

    /// Writes over a C string in its place; what is left of it becomes zeros.
    private static func overwrite(_ target: UnsafeMutablePointer<CChar>?, with text: String) {
        guard let target, String(cString: target) != text else { return }
        let length = strlen(target)
        memset(target, 0, length)
        memcpy(target, text, min(length, text.utf8.count))
    }
}

import Foundation
import Glibc
import TestSupport
import Testing

/// The program of the tarball, which is that of all packages.
@Suite("The packaged program", .needsPackages)
struct ProgramTests {
    let tarball: Tarball

    init() throws { tarball = try Tarball() }

    /// The paths of the libraries that the loader loads.
    private func libraries() throws -> [String] {
        try Command("ldd", [tarball.program]).succeeded().matches(of: /\/[^ ]+/).map { String($0.output) }
    }

    @Test("It needs no library but glibc's")
    func needs() throws {
        let names = try Command("ldd", [tarball.program]).succeeded().split(separator: "\n").compactMap {
            $0.split(whereSeparator: \.isWhitespace).first?.split(separator: "/").last.map(String.init)
        }
        let ofGlibc = /linux-vdso\.so\.1|lib(c|m)\.so\.6|ld-linux-[a-z0-9-]+\.so\.[0-9]/
        #expect(names.contains("libc.so.6"))
        #expect(names.filter { $0.wholeMatch(of: ofGlibc) == nil } == [])
    }

    @Test("It needs no glibc later than 2.36, which knows the packed relocations that it has")
    func versions() throws {
        let text = try Command("readelf", ["--version-info", "--wide", tarball.program]).succeeded()
        let names = Set(text.matches(of: /Name: (\S+)/).map { String($0.output.1) })
        #expect(names.contains("GLIBC_ABI_DT_RELR"))
        let versions = names.subtracting(["GLIBC_ABI_DT_RELR"])
        #expect(versions.contains("GLIBC_2.34"))
        for name in versions {
            let version = try #require(name.wholeMatch(of: /GLIBC_2\.([0-9]+)(\.[0-9]+)?/), "\(name)")
            #expect(try #require(Int(version.output.1)) <= 36, "\(name)")
        }
    }

    @Test("It is loaded anywhere, with nothing of its stack executable and its relocations read-only")
    func hardened() throws {
        let segments = try Command("readelf", ["--segments", "--wide", tarball.program]).succeeded()
        #expect(segments.contains("DYN (Position-Independent Executable file)") && segments.contains("GNU_RELRO"))
        #expect(segments.contains(/GNU_STACK.*\sRW\s/))
        #expect(try Command("readelf", ["--dynamic", "--wide", tarball.program]).succeeded().contains(/FLAGS_1.*NOW/))
    }

    @Test("It is below 30 MB, and stripped")
    func size() throws {
        let size = try #require(FileManager.default.attributesOfItem(atPath: tarball.program)[.size] as? Int)
        print("the packaged program: \(size) bytes")
        #expect(size < 30_000_000)
        let sections = try Command("readelf", ["--sections", "--wide", tarball.program]).succeeded()
        #expect(sections.contains(" .text ") && !sections.contains(" .symtab ") && !sections.contains(" .debug"))
    }

    @Test("It runs where there is nothing but glibc: it serves, fails open without Redis, and stops", .needsNamespaces)
    func emptyRoot() throws {
        let root = try TemporaryFolder()
        // glibc loads the last itself where a thread ends, and the packages of glibc bring it.
        let last = try Command("clang", ["-print-file-name=libgcc_s.so.1"]).succeeded().trimmed
        for library in try libraries() + [last] {
            try Command("install", ["-D", library, root.path + library]).succeeded()
        }
        try Command("install", ["-D", tarball.program, root.file("llm-rate-limit")]).succeeded()
        for name in ["proc", "run"] { mkdir(root.file(name), 0o755) }
        mkdir(root.file("run/llm-rate-limit"), 0o755)
        let script = #"mount -t proc proc "$0/proc" && exec chroot "$0" /llm-rate-limit "$@""#
        let start = ["--mount", "sh", "-c", script, root.path]

        let version = try Command("unshare", start + ["--version"]).succeeded()
        #expect(try version == Command(tarball.program, ["--version"]).output)
        let daemon = try ChildProcess("unshare", start + ["serve"])
        let socket = root.file("run/llm-rate-limit/llm-rate-limit.sock")
        #expect(eventually(within: 60) { daemon.exitCode != nil || (try? HTTPConnection(.unix(socket))) != nil })
        let answer = try HTTPConnection(.unix(socket)).check(newUser())
        #expect(answer.isAllowed && answer.isDegraded, "\(answer.text)")
        daemon.send(SIGTERM)
        #expect(try daemon.wait(seconds: 60) == 0, "\(daemon.errors)")
    }
}

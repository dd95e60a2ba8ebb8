import Foundation
import TestSupport
import Testing

@Suite("The RPM", .needsPackages)
struct RPMTests {
    private let package: String

    init() throws { package = try Packages.file(".rpm") }

    private func query(_ format: String) throws -> String {
        try Command("rpm", ["-qp", "--queryformat", format, package]).succeeded()
    }

    @Test("It says its name, version, machine and needs, and none of the machine that built it")
    func metadata() throws {
        let shown = try Command("\(Packages.folder ?? "")/llm-rate-limit", ["--version"]).succeeded()
        let version = try #require(shown.trimmed.split(separator: " ").last)
        let machine = try Command("uname", ["-m"]).succeeded().trimmed
        #expect(try query("%{name} %{version} %{release} %{arch}") == "llm-rate-limit \(version) 1 \(machine)")
        #expect(try query("%{buildhost}") == "localhost")
        let needs = try Command("rpm", ["-qp", "--requires", package]).lines.filter { !$0.hasPrefix("rpmlib(") }
        let scripts: Set = ["/bin/sh", "config(llm-rate-limit) = \(version)-1"]
        #expect(Set(needs).subtracting(scripts) == ["glibc >= 2.36", "libgcc", "procps-ng", "tzdata"])
    }

    @Test("It has the files of the Debian package, where its distributions look for them")
    func files() throws {
        let listing = try Command("dpkg-deb", ["--contents", Packages.file(".deb")]).succeeded()
        let debian = listing.split(separator: "\n").compactMap { line in
            line.split(whereSeparator: \.isWhitespace).last.map { String($0.dropFirst()) }
        }
        // What is Debian's alone, and what debhelper compresses.
        let own = ["/copyright", "/changelog.Debian.gz", "/lintian/overrides/llm-rate-limit"]
        let mapped = debian.filter { path in !path.hasSuffix("/") && !own.contains { path.hasSuffix($0) } }.map {
            path in
            path.replacing(/^\/lib\/systemd/, with: "/usr/lib/systemd")
                .replacing("zsh/vendor-completions", with: "zsh/site-functions")
                .replacing(/(doc\/.*\.(?:md|json))\.gz$/) { String($0.output.1) }
        }
        let format = "[%{filenames} %{filemodes:perms}\n]"
        let rpm = try query(format).split(separator: "\n").filter { $0.contains(" -") }
        #expect(Set(rpm.compactMap { $0.split(separator: " ").first.map(String.init) }) == Set(mapped))
        #expect(mapped.count > 20)
    }

    @Test("The settings are kept by an upgrade, and nobody but the daemon's group reads them")
    func settings() throws {
        let files = try query(
            "[%{filenames} %{filemodes:perms} %{fileusername}:%{filegroupname} %{fileflags:fflags}\n]")
        let settings = files.split(separator: "\n").first { $0.hasPrefix("/etc/llm-rate-limit/llm-rate-limit.env ") }
        #expect(settings?.hasSuffix(" -rw-r----- root:llm-rate-limit cn") == true, "\(settings ?? "")")
        let others = files.split(separator: "\n").filter { $0 != settings }
        #expect(others.allSatisfy { $0.contains(" root:root ") })
    }

    @Test("It is unpacked by rpm into an empty root, as the database of that root says", .needsNamespaces)
    func unpacked() throws {
        let root = try TemporaryFolder()
        // No distribution of RPMs is here: what it needs is not looked for, and nobody's account is made.
        let here = ["--root", root.path, "--dbpath", "/var/lib/rpm"]
        try Command("rpm", here + ["--install", "--force-debian", "--nodeps", "--noscripts", package]).succeeded()
        #expect(try Command("rpm", here + ["-q", "llm-rate-limit"]).output.hasPrefix("llm-rate-limit-"))
        // Every file is as it was packed but for the group, which is nobody's here.
        let differing = try Command(
            "rpm", here + ["--verify", "--nodeps", "--noscripts", "--nogroup", "llm-rate-limit"])
        #expect(differing.output == "" && differing.code == 0, "\(differing.output)")
        #expect(try Command(root.file("usr/bin/llm-rate-limit"), ["--version"]).code == 0)
    }
}

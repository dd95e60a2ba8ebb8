import Foundation
import TestSupport
import Testing

@testable import llm_rate_limit

/// What the page Install says, done as it says.
@Suite("The page Install", .serialized)
struct InstallPageTests {
    @Test("Every section with commands is run by a test, and every file that it names is of this version")
    func sections() {
        // InstallTests install the packages; scripts/test builds, and the README's test runs what scripts/run starts.
        let others: Set = ["Debian package", "RPM", "From source"]
        let own: Set = ["Container", "Compose", "Tarball"]
        #expect(Set(InstallPage.sections.keys) == others.union(own))
        let named = InstallPage.text.matches(of: /llm-rate-limit[-_:](\d+\.\d+\.\d+)/).map { String($0.1) }
        #expect(Set(named) == [programVersion] && named.count > 6)
    }

    @Test("The files that it names are those that are built", .needsPackages)
    func files() throws {
        let names = InstallPage.text.matches(of: /llm-rate-limit[-_][0-9][^ \n`]*\.(?:deb|rpm|tar|tar\.xz)\b/)
        let built = Set(try FileManager.default.contentsOfDirectory(atPath: Packages.folder ?? ""))
        #expect(Set(names.map { String($0.0) }) == built.subtracting(["SHA256SUMS"]))
    }

    /// A machine with a Redis at its usual port, in which nothing is loaded.
    private func machine() throws -> (podman: Podman, redis: ChildProcess) {
        let podman = try Podman(hasNetwork: true, isLoaded: false)
        let redis = try podman.start(["redis-server", "--save", "", "--dir", podman.folder.path])
        guard try eventually(within: 30, { try podman.start(["redis-cli", "ping"]).wait() == 0 }) else {
            throw TestFailure("Redis does not serve: \(redis.output)")
        }
        return (podman, redis)
    }

    @Test("The container's commands load it, start it, have it decide, and leave nothing of it", .needsPackages)
    func container() throws {
        let (podman, redis) = try machine()
        for example in try #require(InstallPage.sections["Container"]).joined() {
            let script = "cd '\(Packages.folder ?? "")'\ndocker() { podman \"$@\"; }\n\(example.command)"
            var process = try podman.start(["bash", "-c", script])
            var code = try process.wait(seconds: 120)
            // It is asked as soon as it is started.
            let isThere = try eventually(within: 30) {
                guard code == 2, example.command.contains(" check ") else { return true }
                process = try podman.start(["bash", "-c", script])
                code = try process.wait(seconds: 120)
                return false
            }
            #expect(isThere && code == 0, "\(example.command): \(process.errors)")
            if !example.output.isEmpty { #expect(process.output == example.output) }
        }
        for kind in ["container", "volume", "image"] {
            #expect(try podman.must([kind, "list", "--quiet"] + (kind == "container" ? ["--all"] : [])) == "")
        }
        #expect(redis.exitCode == nil)
    }

    @Test("The tarball's commands have the program serve and decide where it was unpacked", .needsPackages)
    func tarball() throws {
        let (podman, redis) = try machine()
        let block = try #require(InstallPage.sections["Tarball"]?.first)
        let wait = "for i in $(seq 300); do [ ! -S /tmp/check.sock ] || break; sleep 0.1; done"
        let commands = block.map { $0.command.contains(" check ") ? "\(wait)\n\($0.command)" : $0.command }
        let folder = podman.folder.path
        let script =
            "set -e\ncd '\(folder)'\ncp '\(Packages.folder ?? "")'/*.tar.xz .\n" + commands.joined(separator: "\n")
        let process = try podman.start(["bash", "-c", script.replacing(" /tmp/", with: " \(folder)/")])
        #expect(try process.wait(seconds: 120) == 0, "\(process.errors)")
        #expect(process.output == block.map(\.output).joined())
        #expect(redis.exitCode == nil)
    }
}

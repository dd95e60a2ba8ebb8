import Foundation
import TestSupport
import Testing

@testable import llm_rate_limit

/// What the archive of the image holds, read without a container.
@Suite("What is in the container image", .serialized, .needsPackages)
struct ImageContentTests {
    /// One entry of the image's files, as `tar --list --verbose` shows it.
    private struct Entry {
        let mode: String
        let owner: String
        let path: String

        init?(_ line: Substring) {
            let parts = line.split(separator: " ", maxSplits: 5, omittingEmptySubsequences: true)
            guard parts.count == 6 else { return nil }
            (mode, owner) = (String(parts[0]), String(parts[1]))
            path = String(parts[5]).trimmingCharacters(in: ["/"])
        }

        var isFolder: Bool { mode.hasPrefix("d") }
    }

    private let folder: TemporaryFolder
    private let configuration: [String: Any]
    private let entries: [Entry]

    init() throws {
        folder = try TemporaryFolder()
        let manifest = try Self.shell("tar -xf \(Packages.image) -C \(folder.path) && cat \(folder.path)/manifest.json")
        let images = try JSONSerialization.jsonObject(with: Data(manifest.utf8)) as? [[String: Any]]
        let image = try #require(images?.first)
        let layers = try #require(image["Layers"] as? [String])
        let text = readFile(folder.file(try #require(image["Config"] as? String)))
        configuration = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        try #require(layers.count == 1)
        let listed = try Self.shell("tar --list --verbose --numeric-owner --file \(folder.file(layers[0]))")
        entries = listed.split(separator: "\n").compactMap { Entry($0) }
        try Self.shell("tar -xf \(folder.file(layers[0])) -C \(folder.path) usr etc")
    }

    @discardableResult
    private static func shell(_ text: String) throws -> String {
        let process = try ChildProcess("bash", ["-euo", "pipefail", "-c", text])
        guard try process.wait(seconds: 300) == 0 else { throw TestFailure(process.errors) }
        return process.output
    }

    @Test("It is below 35 MB, packed and unpacked")
    func size() throws {
        let packed = try FileManager.default.attributesOfItem(atPath: Packages.image)[.size] as? Int
        #expect(try #require(packed) < 35_000_000)
        let unpacked = try Self.shell("du --summarize --bytes \(folder.file("usr")) \(folder.file("etc")) | cut -f 1")
        #expect(unpacked.split(separator: "\n").compactMap { Int($0) }.reduce(0, +) < 35_000_000)
    }

    @Test("It has the program, the C library, certificates, names and time zones, and no other file")
    func files() throws {
        let zones = "usr/share/zoneinfo/"
        let files = entries.filter { !$0.isFolder }.map(\.path).filter { !$0.hasPrefix(zones) }
        let architecture = try Self.shell("uname -m").trimmingCharacters(in: .whitespacesAndNewlines)
        let loader = files.filter { $0.contains("/ld-linux") }
        #expect(loader.count == 1)
        let libraries = ["libc.so.6", "libgcc_s.so.1", "libm.so.6"].map { "lib/\(architecture)-linux-gnu/\($0)" }
        let expected = [
            "etc/group", "etc/nsswitch.conf", "etc/passwd", "etc/ssl/certs/ca-certificates.crt",
            "usr/bin/llm-rate-limit",
        ]
        #expect(files.sorted() == (expected + libraries + loader).sorted())
        #expect(readFile(folder.file("etc/nsswitch.conf")) == "hosts: files dns\n")
        let certificates = readFile(folder.file("etc/ssl/certs/ca-certificates.crt"))
        #expect(certificates.components(separatedBy: "-----BEGIN CERTIFICATE-----").count > 100)

        let known = Set(entries.map(\.path).filter { $0.hasPrefix(zones) }.map { String($0.dropFirst(zones.count)) })
        let table = readFile("/usr/share/zoneinfo/zone1970.tab").split(separator: "\n").filter { !$0.hasPrefix("#") }
        let named = table.map { String($0.split(separator: "\t")[2]) }
        #expect(named.count > 250 && Set(named + ["UTC", "US/Pacific"]).isSubset(of: known))
        // This machine's own zone is none of the image's.
        #expect(known.isDisjoint(with: ["localtime", "posixrules", "posix", "right"]))
    }

    @Test(
        "Everything is root's, and nothing takes another user's rights or lets others write; the sockets are the daemon's"
    )
    func owners() {
        for entry in entries {
            let isSockets = entry.path == "run/llm-rate-limit"
            #expect(entry.owner == (isSockets ? "65532/65532" : "0/0"), "\(entry.path): \(entry.owner)")
            #expect(
                entry.mode.dropFirst().wholeMatch(of: /r[w-][x-]r-[x-]r-[x-]/) != nil, "\(entry.path): \(entry.mode)")
            #expect(entry.isFolder || entry.mode.hasPrefix("-"), "\(entry.path): \(entry.mode)")
        }
        #expect(entries.contains { $0.path == "run/llm-rate-limit" && $0.isFolder })
    }

    @Test("It says its version and commit, runs as nobody's user, and tells nothing of where it was built")
    func labels() throws {
        let settings = try #require(configuration["config"] as? [String: Any])
        let labels = try #require(settings["Labels"] as? [String: String])
        let prefix = "org.opencontainers.image."
        #expect(Set(labels.keys) == Set(["title", "version", "revision"].map { prefix + $0 }))
        #expect(labels["\(prefix)title"] == "llm-rate-limit" && labels["\(prefix)version"] == programVersion)
        #expect(labels["\(prefix)revision"]?.wholeMatch(of: /[0-9a-f]{40}(-dirty)?/) != nil, "\(labels)")
        #expect(settings["User"] as? String == "65532:65532" && settings["Hostname"] == nil)
        #expect(configuration["container"] == nil && configuration["container_config"] == nil)
    }

    /// The functions of `scripts/package` with the program of the archive, since building it takes many minutes.
    @Test("Packed again from the same commit, later and by another user's habits, it is the same byte for byte")
    func repeated() throws {
        let labels = (configuration["config"] as? [String: Any])?["Labels"] as? [String: String]
        let revision = try #require(labels?["org.opencontainers.image.revision"])
        let created = try #require(configuration["created"] as? String)
        try FileManager.default.createDirectory(atPath: folder.file("again"), withIntermediateDirectories: false)
        try Self.shell(
            """
            source '\(projectFolder)/scripts/lib.sh'
            source scripts/package.d/image.sh
            source_revision() { echo '\(revision)'; }
            folder='\(folder.path)' out='\(folder.file("again"))' version=\(programVersion)
            cp -a "$folder/usr/bin/llm-rate-limit" "$folder/"
            export SOURCE_DATE_EPOCH=$(date -d '\(created)' +%s) TZ=Asia/Tokyo
            umask 077
            pack_image
            cmp "$out/llm-rate-limit-$version-image.tar" '\(Packages.image)'
            """)
    }
}

import BoundedFiles
public import RateLimitCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// envoyproxy/ratelimit's configuration, from one file or from those of a folder.
public struct EnvoyConfiguration: Hashable, Sendable {
    /// Which limit a descriptor meets.
    public let rules: DescriptorRules
    /// The files that were read, in the order in which they were.
    public let files: [String]
    /// What tells the bytes of the files from others: a number below 2^48.
    public let hash: Int

    /// The most files of a folder.
    public static let maximumFiles = 256
    /// The most entries of a folder, whatever they are.
    static let maximumEntries = 65_536

    /// Reads the configuration at a path: that of a file, whatever its name, or a folder, of which every file counts that ends
    /// in `.yaml` or `.yml`, in the order of their names' bytes. Those that begin with a dot do not, nor do folders in it.
    /// Files of one domain are joined, in that order.
    ///
    /// - Throws: The first thing that cannot be used; nothing of such a configuration counts.
    public init(readingAt path: String) throws(EnvoyConfigurationError) {
        let files = try Self.files(at: path)
        var domains: [JoinedDomain] = []
        var hash = ContentHash()
        for file in files {
            let (domain, lines) = try Self.domain(in: file, &hash)
            if let known = domains.firstIndex(where: { $0.domain.name.utf8.elementsEqual(domain.name.utf8) }) {
                try domains[known].join(domain, lines, of: file)
            } else {
                domains.append(JoinedDomain(domain: domain, places: lines.mapValues { (file, $0) }))
            }
        }
        rules = DescriptorRules(domains.map(\.domain))
        self.files = files
        self.hash = hash.number()
    }

    private static func domain(
        in file: String, _ hash: inout ContentHash
    ) throws(EnvoyConfigurationError) -> (DescriptorDomain, lines: [DescriptorEntry: Int]) {
        let bytes: [UInt8]
        do throws(BoundedFile.Problem) {
            bytes = try BoundedFile(path: file, maximumBytes: FileNode.maximumBytes).bytes
        } catch {
            throw EnvoyConfigurationError(file, reason: "\(error)")
        }
        hash.add(bytes)
        do throws(LimitsFileError) {
            return try EnvoyReader.domain(bytes)
        } catch {
            throw EnvoyConfigurationError(file, error)
        }
    }

    /// The files of which the configuration at a path consists, in the order in which they are read: those that are watched
    /// as well.
    package static func files(at path: String) throws(EnvoyConfigurationError) -> [String] {
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else { return [path] }
        guard let folder = opendir(path) else { throw EnvoyConfigurationError(path, errno: errno) }
        defer { closedir(folder) }
        var names: [String] = []
        for _ in 0..<maximumEntries {
            errno = 0
            guard let entry = readdir(folder) else {
                guard errno == 0 else { throw EnvoyConfigurationError(path, errno: errno) }
                return try files(named: names, in: path)
            }
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if isConfiguration(name) { names.append(name) }
        }
        throw EnvoyConfigurationError(path, reason: "the folder has more than \(grouped(maximumEntries)) entries")
    }

    private static func files(named names: [String], in folder: String) throws(EnvoyConfigurationError) -> [String] {
        guard !names.isEmpty else {
            throw EnvoyConfigurationError(folder, reason: "the folder has no file that ends in .yaml or .yml")
        }
        guard names.count <= maximumFiles else {
            throw EnvoyConfigurationError(
                folder,
                reason:
                    "the folder has \(names.count) files that end in .yaml or .yml: accepted are up to \(maximumFiles)")
        }
        let sorted = names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        return sorted.map { folder.hasSuffix("/") ? folder + $0 : "\(folder)/\($0)" }
    }

    private static func isConfiguration(_ name: String) -> Bool {
        let ends = [".yaml", ".yml"]
        return name.utf8.first != UInt8(ascii: ".")
            && ends.contains { name.utf8.suffix($0.utf8.count).elementsEqual($0.utf8) }
    }
}

/// A domain of one file or of several, with where each descriptor of its first level stands.
private struct JoinedDomain {
    var domain: DescriptorDomain
    var places: [DescriptorEntry: (file: String, line: Int)]

    /// Adds what another file says of the domain. What stands in both is refused, as it is in one file.
    mutating func join(
        _ other: DescriptorDomain, _ lines: [DescriptorEntry: Int], of file: String
    ) throws(EnvoyConfigurationError) {
        for rule in other.rules {
            if let earlier = places[rule.entry] {
                throw EnvoyConfigurationError(
                    file, line: lines[rule.entry],
                    reason:
                        "\(rule.shownName) of domain \(shown(domain.name)) stands already in line \(earlier.line) of \(earlier.file)"
                )
            }
        }
        domain.rules += other.rules
        places.merge(lines.mapValues { (file, $0) }) { first, _ in first }
    }
}

/// Why a configuration of envoyproxy/ratelimit is refused as a whole.
public struct EnvoyConfigurationError: Error, Hashable, Sendable {
    /// The file or folder that cannot be used.
    public let path: String
    /// The line of the file, counted from 1; nil where the file or folder as a whole is wrong.
    public let line: Int?
    /// What is wrong.
    public let reason: String
    /// What is accepted instead, where the reason does not say it: completes the sentence "accepted are …".
    public let accepted: String?

    init(_ path: String, line: Int? = nil, reason: String, accepted: String? = nil) {
        self.path = path
        self.line = line
        self.reason = reason
        self.accepted = accepted
    }

    init(_ path: String, _ error: LimitsFileError) {
        self.init(path, line: error.line, reason: error.reason, accepted: error.accepted)
    }

    init(_ path: String, errno code: Int32) { self.init(path, reason: String(cString: strerror(code))) }
}

extension EnvoyConfigurationError: CustomStringConvertible {
    /// `cannot read /etc/ratelimit/a.yaml: line 4: descriptor tenant has no unit: accepted are second, …`.
    public var description: String {
        "cannot read \(path): " + (line.map { "line \($0): " } ?? "") + reason
            + (accepted.map { ": accepted are \($0)" } ?? "")
    }
}

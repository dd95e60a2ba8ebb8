import BoundedFiles
public import RateLimitCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// A folder of TZif files by the names of their zones, such as the system's `/usr/share/zoneinfo`.
public struct TimeZoneFolder: Hashable, Sendable {
    /// The folder.
    public let path: String

    /// Where the system keeps its zones.
    public static let standardPath = "/usr/share/zoneinfo"
    /// How many bytes a zone's name may have.
    public static let nameLengths = 1...64

    /// Makes a folder; nothing is read before a zone is asked for.
    public init(path: String = standardPath) { self.path = path }

    /// The folder the variable `TZDIR` names, else the system's.
    public init(environment: [String: String]) {
        let named = environment["TZDIR"] ?? ""
        self.init(path: named.isEmpty ? Self.standardPath : named)
    }

    /// Reads a zone's file. `UTC` and `Etc/UTC` need none.
    public func rules(named name: String) throws(TimeZoneFolderError) -> TimeZoneRules {
        guard Self.isName(name) else { throw .badName }
        guard name != "UTC", name != "Etc/UTC" else { return .utc }
        let bytes = try Self.bytes(ofFile: "\(path)/\(name)", in: path)
        do {
            return try TimeZoneRules(name: name, file: bytes)
        } catch {
            throw .malformed(error)
        }
    }

    /// Letters, digits, `_`, `-` and `+` in parts divided by `/`: nothing that leads out of the folder.
    static func isName(_ name: String) -> Bool {
        guard nameLengths.contains(name.utf8.count) else { return false }
        return name.split(separator: "/", omittingEmptySubsequences: false).allSatisfy { part in
            !part.isEmpty
                && part.utf8.allSatisfy { byte in
                    let isLetter = (0x61...0x7a).contains(byte | 0x20)
                    return isLetter || (0x30...0x39).contains(byte) || "_-+".utf8.contains(byte)
                }
        }
    }

    private static func bytes(ofFile path: String, in folder: String) throws(TimeZoneFolderError) -> [UInt8] {
        do throws(BoundedFile.Problem) {
            return try BoundedFile(path: path, maximumBytes: TimeZoneRules.maximumFileBytes).bytes
        } catch {
            switch error {
            // A part of the world, such as `Europe`, is a folder.
            case .system(ENOENT), .system(ENOTDIR), .notARegularFile: throw .missing(folder: folder)
            case .system(let code): throw .system(code: code)
            case .tooLong: throw .malformed(.tooLong)
            }
        }
    }
}

/// Why a zone's rules cannot be had.
public enum TimeZoneFolderError: Error, Hashable, Sendable {
    /// It is not written as zones are.
    case badName
    /// The folder has no such zone.
    case missing(folder: String)
    /// The system refuses to open or read the file; `code` is its `errno`.
    case system(code: Int32)
    /// The file is not one of a zone.
    case malformed(TimeZoneFileError)

    /// Whether another name may help.
    var isAboutName: Bool {
        switch self {
        case .badName, .missing: true
        case .system, .malformed: false
        }
    }
}

extension TimeZoneFolderError: CustomStringConvertible {
    /// The reason alone.
    public var description: String {
        switch self {
        case .badName: "that is no zone's name"
        case .missing(let folder): "\(shown(folder)) has no such zone (is the package tzdata installed?)"
        case .system(let code): "its file cannot be read: \(String(cString: strerror(code)))"
        case .malformed(let error): "its file cannot be used: \(error)"
        }
    }
}

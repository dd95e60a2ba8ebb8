import Foundation
import TestSupport

/// The daemon as the chart's pod starts it, in a folder in place of the container's.
///
/// The container's files are beside its sockets: what the pod mounts at `/etc/llm-rate-limit/limits` is `limits` here.
struct SidecarSetting {
    let redis: RedisServer
    let folder: TemporaryFolder
    let rendered: Rendered
    let daemon: Daemon
    /// The container's variables, with the folder's paths.
    private let variables: [String: String]
    /// The folders that the kubelet makes of ConfigMaps, by their last name.
    let maps: [String: ConfigMapVolume]

    /// Starts the daemon of a pod with these values, in YAML, beside a Redis of its own.
    ///
    /// - Parameters:
    ///   - secrets: what Secrets have, by `login/password` and so on.
    ///   - isConfined: whether it runs as its container's user, with a root file system and rights as there. Takes root.
    init(_ values: String = "", secrets: [String: String] = [:], isConfined: Bool = false) throws {
        redis = try RedisServer()
        folder = try TemporaryFolder()
        let login = secrets.isEmpty ? redis.url : redis.unrestrictedURL
        // Who is not root can give a socket to a group of its own alone.
        let group = isRoot ? 65532 : getgid()
        rendered = try Helm.render(values.replacing("REDIS", with: login) + "\ngroup: \(group)\n")
        maps = try Self.mount(rendered, in: folder)
        for (name, text) in secrets {
            let parts = name.split(separator: "/")
            try FileManager.default.createDirectory(
                atPath: folder.file("\(parts[0])"), withIntermediateDirectories: true)
            chown(try folder.write(text, to: name, mode: 0o440), uid_t.max, group)
        }
        let paths = ["/etc/llm-rate-limit/", "/run/llm-rate-limit/"]
        variables = rendered.variables.mapValues { [folder] value in
            paths.contains { value.hasPrefix($0) } ? folder.file(String(value.dropFirst(paths[0].count))) : value
        }
        var wrapper: [String] = []
        if isConfined {
            // A volume that is empty, as the kubelet makes it for a pod with this fsGroup.
            chown(folder.path, 0, group)
            chmod(folder.path, 0o2777)
            chmod(redis.folder.path, 0o755)
            chmod(redis.socketPath, 0o777)
            try FileManager.default.copyItem(atPath: Daemon.program, toPath: folder.file("llm-rate-limit"))
            // Not everybody may reach the program where it was built.
            wrapper = Self.confinement(folder) + Self.user(of: rendered.daemon, groups: group)
            wrapper += ["sh", "-c", #"exec "$0" "$2""#, folder.file("llm-rate-limit")]
        }
        daemon = try Daemon(redis: nil, folder: folder, environment: variables, wrapper: wrapper)
    }

    /// A command that has the rest run with a root file system that is read-only, but for the folder.
    private static func confinement(_ folder: TemporaryFolder) -> [String] {
        let script = """
            mount --bind "$0" "$0" && mount -o remount,bind,ro / && ! touch /tmp/a 2>/dev/null || exit 90
            exec "$@"
            """
        return ["unshare", "--mount", "sh", "-c", script, folder.path]
    }

    /// A command that has the rest run as a container's user, with these further groups and without rights.
    private static func user(of container: Manifest, groups: gid_t) -> [String] {
        let security = container["securityContext"]
        return [
            "setpriv", "--reuid", "\(security["runAsUser"].number ?? 0)", "--regid",
            "\(security["runAsGroup"].number ?? 0)", "--groups", "\(groups)", "--no-new-privs", "--inh-caps=-all",
            "--bounding-set=-all", "--",
        ]
    }

    /// Runs a command of the image in the gateway's container, which has the folder too: its exit code and what it said.
    func executeInGateway(_ arguments: [String], inGroup: Bool = true) throws -> (code: Int32, output: String) {
        let group = rendered.pod["securityContext"]["fsGroup"].number ?? 0
        let command = Self.user(of: rendered.gateway, groups: inGroup ? gid_t(group) : 65_534)
        let program = folder.file("llm-rate-limit")
        let process = try ChildProcess(
            command[0], command.dropFirst() + [program] + arguments, environment: Daemon.variables(folder, [:]))
        return (try process.wait(), process.output + process.errors)
    }

    private static func mount(_ rendered: Rendered, in folder: TemporaryFolder) throws -> [String: ConfigMapVolume] {
        var maps: [String: ConfigMapVolume] = [:]
        for mount in rendered.daemon["volumeMounts"].list {
            let volume = rendered.pod["volumes"].named(mount["name"].text ?? "")
            guard let name = volume["configMap"]["name"].text else { continue }
            let data = rendered.object("ConfigMap", name)["data"].value as? [String: String] ?? [:]
            let last = String(mount["mountPath"].text?.split(separator: "/").last ?? "")
            maps[last] = try ConfigMapVolume(at: folder.file(last), data)
        }
        return maps
    }

    /// Runs a command of the container, as a probe does: its exit code and what it said.
    func execute(_ command: [String]) throws -> (code: Int32, output: String) {
        guard command.first == "llm-rate-limit" else { throw TestFailure("the image has no \(command)") }
        let process = try ChildProcess(
            Daemon.program, Array(command.dropFirst()),
            environment: Daemon.variables(folder, [:]).merging(variables) { $1 })
        return (try process.wait(), process.output + process.errors)
    }
}

/// A volume of a ConfigMap, which changes as the kubelet changes it: the files lie in a folder of their own, `..data` leads
/// to it and each name leads through that. A change makes another folder, and then one rename has all of it.
final class ConfigMapVolume {
    private let path: String
    private var data: [String: String]
    private var current: String?
    private var changes = 0

    init(at path: String, _ data: [String: String]) throws {
        self.path = path
        self.data = [:]
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        try change(to: data)
    }

    func change(to data: [String: String]) throws {
        let files = FileManager.default
        changes += 1
        let folder = "..2026_11_28_19_00_00.\(changes)"
        try files.createDirectory(atPath: "\(path)/\(folder)", withIntermediateDirectories: false)
        for (name, text) in data { try Data(text.utf8).write(to: URL(fileURLWithPath: "\(path)/\(folder)/\(name)")) }
        try files.createSymbolicLink(atPath: "\(path)/..data_tmp", withDestinationPath: folder)
        guard rename("\(path)/..data_tmp", "\(path)/..data") == 0 else { throw TestFailure("errno \(errno)") }
        for name in data.keys where self.data[name] == nil {
            try files.createSymbolicLink(atPath: "\(path)/\(name)", withDestinationPath: "..data/\(name)")
        }
        for name in self.data.keys where data[name] == nil { try files.removeItem(atPath: "\(path)/\(name)") }
        if let current { try files.removeItem(atPath: "\(path)/\(current)") }
        (current, self.data) = (folder, data)
    }
}

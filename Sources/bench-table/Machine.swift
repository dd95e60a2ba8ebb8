import Glibc
import LoadGenerator

/// What the numbers were measured on.
struct Machine {
    let redis: String?
    let swift: String

    /// Today, as YYYY-MM-DD in UTC.
    var date: String {
        var now = time(nil)
        var parts = tm()
        gmtime_r(&now, &parts)
        let month = String(100 + parts.tm_mon + 1).dropFirst()
        let day = String(100 + parts.tm_mday).dropFirst()
        return "\(parts.tm_year + 1900)-\(month)-\(day)"
    }

    var lines: [String] {
        let cores = sysconf(Int32(_SC_NPROCESSORS_ONLN))
        return [
            "\(processor), \(cores) cores", "Linux \(kernel)", "Redis \(redis ?? "unknown"), Swift \(swift)",
        ]
    }

    private var processor: String {
        let lines = (readSmallFile("/proc/cpuinfo") ?? "").split(separator: "\n")
        let model = lines.first { $0.hasPrefix("model name") }?.split(separator: ":").last
        return model.map { String($0.drop { $0 == " " }) } ?? "unknown processor"
    }

    private var kernel: String {
        (readSmallFile("/proc/sys/kernel/osrelease") ?? "unknown").split(separator: "\n").first.map(String.init) ?? ""
    }
}

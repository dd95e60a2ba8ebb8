import Glibc

/// The Date header, which every answer carries (RFC 9110, section 6.6.1), made anew once a second.
struct HTTPDate {
    private var second = 0
    private var text: [UInt8] = []

    /// The Unix time, as exact as the header is and cheaper than the exact one.
    static func currentSecond() -> Int {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME_COARSE, &now)
        return now.tv_sec
    }

    /// The header's line at a Unix time.
    mutating func line(at second: Int) -> [UInt8] {
        if second != self.second {
            self.second = second
            text = Self.line(at: second)
        }
        return text
    }

    static func line(at second: Int) -> [UInt8] {
        var time = second
        var parts = tm()
        gmtime_r(&time, &parts)
        let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        func two(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
        let date =
            "\(days[Int(parts.tm_wday)]), \(two(parts.tm_mday)) \(months[Int(parts.tm_mon)]) \(1900 + parts.tm_year)"
        return Array("Date: \(date) \(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)) GMT\r\n".utf8)
    }
}

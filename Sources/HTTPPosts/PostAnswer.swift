import Glibc
package import NIOCore
import NIOHTTP1

/// What a server answered to a body.
package struct PostAnswer: Hashable, Sendable {
    /// From 200 on: what comes before the answer is left out, and a redirection is not followed.
    package var status: Int
    /// How long the server asks to be left alone: `Retry-After` in seconds, or the seconds until its date. Not bounded:
    /// a server may ask for years.
    package var retryAfterSeconds: Int?
    /// As many bytes as ``PostOptions/maximumAnswerBytes`` at most.
    package var body: ByteBuffer

    /// Makes one.
    package init(status: Int, retryAfterSeconds: Int?, body: ByteBuffer) {
        self.status = status
        self.retryAfterSeconds = retryAfterSeconds
        self.body = body
    }

    /// Whether the server has taken the body.
    package var isSuccess: Bool { (200...299).contains(status) }
}

/// Reads `Retry-After`, in either of its forms; nil for anything else.
///
/// - Parameter now: seconds since 1970.
func retryAfterSeconds(_ value: String, now: Int) -> Int? {
    let text = value.trimmingBlanks
    if !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) { return Int(text) }
    return imfDate(text).map { max(0, $0 - now) }
}

/// Seconds since 1970 of a date such as `Sun, 06 Nov 1994 08:49:37 GMT`, the one form that servers still send.
private func imfDate(_ text: String) -> Int? {
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    let fields = text.split(separator: " ", omittingEmptySubsequences: false)
    guard fields.count == 6, fields[5] == "GMT", let month = months.firstIndex(of: String(fields[2])),
        let day = Int32(fields[1]), let year = Int32(fields[3]), (1970...9999).contains(year)
    else { return nil }
    let time = fields[4].split(separator: ":", omittingEmptySubsequences: false).compactMap { Int32($0) }
    // A leap second is 60.
    guard time.count == 3, (1...31).contains(day), (0...23).contains(time[0]), (0...59).contains(time[1]),
        (0...60).contains(time[2])
    else { return nil }
    var parts = tm()
    parts.tm_year = year - 1900
    parts.tm_mon = Int32(month)
    parts.tm_mday = day
    (parts.tm_hour, parts.tm_min, parts.tm_sec) = (time[0], time[1], time[2])
    return timegm(&parts)
}

extension String {
    fileprivate var trimmingBlanks: String {
        let isBlank = { (character: Character) in character == " " || character == "\t" }
        let start = drop(while: isBlank)
        let end = start.lastIndex { !isBlank($0) }
        return end.map { String(start[...$0]) } ?? ""
    }
}

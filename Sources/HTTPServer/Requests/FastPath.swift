import Glibc
import RateLimitCore
import RateLimitService

/// Recognises a complete, ordinary request about a call and decodes it straight from the bytes that arrived.
///
/// It knows `POST` with a JSON body to each route of ``CallRoute``, with `?verbose=1` or without a query, and
/// `GET /v1/check?…`: HTTP/1.1, with headers that carry no surprises. Whatever is not plainly that is left for NIOHTTP1,
/// which knows all of HTTP; so this may be as strict as it likes, and nothing is answered here that would be answered
/// otherwise there. A body that cannot be used is left for it too: what is wrong is said in one place.
enum FastPath {
    enum Recognition {
        /// A check, how many bytes its request took, and whether it says more than user and cost.
        case check(CheckRequest, length: Int, hasOtherMembers: Bool)
        /// A call whose body is still to be read: where it stands, and where the request ends with it.
        case call(CallRoute, isVerbose: Bool, body: Range<Int>)
        /// The beginning of one: more bytes will tell.
        case incomplete
        /// Something else, or something unusual.
        case other
    }

    private static let post: StaticString = "POST /v1/"
    private static let get: StaticString = "GET /v1/check?"
    private static let verbose: StaticString = "?verbose=1 HTTP/1.1\r\n"
    private static let version: StaticString = " HTTP/1.1\r\n"

    /// Looks at the bytes of a connection from the start of a request; one that is like the last is known at once.
    ///
    /// - Parameter checksAreCalls: whether a check is a call under the limits of the file.
    static func recognise(
        _ bytes: UnsafeRawBufferPointer, after known: inout RequestTemplate, checksAreCalls: Bool = false
    ) -> Recognition {
        if let (check, length) = known.recognise(bytes) { return .check(check, length: length, hasOtherMembers: false) }
        return recognise(bytes, checksAreCalls: checksAreCalls) {
            known.remember(bytes, length: $0, userOffset: $1, cost: $2)
        }
    }

    /// Looks at the bytes of a connection from the start of a request.
    ///
    /// - Parameter remember: told the length, the user's place and the cost of a check that says no more than these.
    static func recognise(
        _ bytes: UnsafeRawBufferPointer, checksAreCalls: Bool = false,
        remember: (_ length: Int, _ userOffset: Int, _ cost: Int) -> Void = { _, _, _ in }
    ) -> Recognition {
        if let matched = matches(bytes, post) {
            guard matched else { return .incomplete }
            let recognition = recognisePost(bytes)
            guard case .call(.check, let isVerbose, let range) = recognition, !checksAreCalls else {
                return recognition
            }
            let body = UnsafeRawBufferPointer(rebasing: bytes[range])
            var layout = BodyLayout()
            guard let check = try? JSONCheckBody.read(body, layout: &layout), !layout.isCall else {
                return .other
            }
            if let userOffset = layout.userOffset, !layout.hasOtherMembers, !isVerbose {
                remember(range.upperBound, range.lowerBound + userOffset, check.cost)
            }
            return .check(check, length: range.upperBound, hasOtherMembers: layout.hasOtherMembers)
        }
        if let matched = matches(bytes, get) {
            guard matched else { return .incomplete }
            return recogniseQuery(bytes)
        }
        return .other
    }

    /// Reads the body of a call that was recognised in `bytes`; nil where something in it cannot be used.
    static func read(
        _ route: CallRoute, isVerbose: Bool, body range: Range<Int>, of bytes: UnsafeRawBufferPointer,
        under limits: LimitsInForce, remembering known: inout RequestTemplate
    ) -> RoutedCall? {
        var layout = BodyLayout()
        let text = UnsafeRawBufferPointer(rebasing: bytes[range])
        guard let body = try? CallBody.read(text, under: limits, layout: &layout),
            let request = try? route.request(body, limits.leases)
        else { return nil }
        if route == .check, let userOffset = layout.userOffset, !layout.hasOtherMembers, !isVerbose {
            known.remember(
                bytes, length: range.upperBound, userOffset: range.lowerBound + userOffset, cost: request.cost)
        }
        return RoutedCall(request: request, isVerbose: isVerbose)
    }

    /// Looks at the bytes of a connection that begin with ``post``.
    private static func recognisePost(_ bytes: UnsafeRawBufferPointer) -> Recognition {
        let start = post.utf8CodeUnitCount
        var end = start
        let bound = min(bytes.count, start + longestName + 1)
        while end < bound, bytes[end] &- 0x61 < 26 { end += 1 }
        let name = UnsafeRawBufferPointer(rebasing: bytes[start..<end])
        guard end < bytes.count else {
            return CallRoute.all.contains { $0.name.hasPrefix(name) } ? .incomplete : .other
        }
        guard let route = CallRoute(name) else { return .other }
        let rest = UnsafeRawBufferPointer(rebasing: bytes[end...])
        let isVerbose = rest[0] == 0x3f
        let line = isVerbose ? verbose : version
        guard let matched = matches(rest, line) else { return .other }
        guard matched else { return .incomplete }
        switch head(bytes, from: end + line.utf8CodeUnitCount) {
        case .incomplete: return .incomplete
        case .other: return .other
        case .found(let head):
            guard let contentLength = head.contentLength, head.hasOrdinaryBody else { return .other }
            let end = head.end + contentLength
            return end <= bytes.count ? .call(route, isVerbose: isVerbose, body: head.end..<end) : .incomplete
        }
    }

    private static let longestName = CallRoute.all.map(\.name.utf8CodeUnitCount).max() ?? 0

    private static func recogniseQuery(_ bytes: UnsafeRawBufferPointer) -> Recognition {
        let start = get.utf8CodeUnitCount
        var index = start
        // A longer query is unusual enough for NIOHTTP1.
        let bound = min(bytes.count, start + longestQuery)
        while index < bound, isPlainInQuery(bytes[index]) { index += 1 }
        guard index < bound else { return bound < start + longestQuery ? .incomplete : .other }
        guard let matched = matches(UnsafeRawBufferPointer(rebasing: bytes[index...]), version) else { return .other }
        guard matched else { return .incomplete }
        let headers = index + version.utf8CodeUnitCount
        switch head(bytes, from: headers) {
        case .incomplete: return .incomplete
        case .other: return .other
        case .found(let head):
            guard head.contentLength ?? 0 == 0 else { return .other }
            let query = UnsafeRawBufferPointer(rebasing: bytes[start..<index])
            var hasOthers = false
            guard let check = (try? CheckQuery.read(query, hasOtherParameters: &hasOthers)) ?? nil else {
                return .other
            }
            return .check(check, length: head.end, hasOtherMembers: hasOthers)
        }
    }

    private static let longestQuery = 256

    /// What a check's query is made of, percent-encoded texts included: letters, digits and `%&+,-./:=@_~`. Bit n of a
    /// word stands for the character n, or n + 64.
    private static func isPlainInQuery(_ byte: UInt8) -> Bool {
        let set: UInt64 = byte < 64 ? 0x27ff_f860_0000_0000 : 0x47ff_fffe_87ff_ffff
        return byte < 128 && set &>> UInt64(byte & 63) & 1 == 1
    }

    /// Whether `bytes` begin with `text`: false while they are only a beginning of it, nil when they differ.
    private static func matches(_ bytes: UnsafeRawBufferPointer, _ text: StaticString) -> Bool? {
        let count = min(bytes.count, text.utf8CodeUnitCount)
        guard let base = bytes.baseAddress, memcmp(base, text.utf8Start, count) == 0 else { return nil }
        return bytes.count >= text.utf8CodeUnitCount
    }
}

// MARK: - Headers

extension FastPath {
    /// More header lines than this are no ordinary request; NIOHTTP1 refuses more than 256.
    private static let maximumLines = 64

    fileprivate struct Head {
        var end = 0
        var contentLength: Int?
        var contentTypes = 0
        var hasOrdinaryBody = true
    }

    fileprivate enum HeadRecognition {
        case found(Head)
        case incomplete
        case other
    }

    /// Reads header lines up to the empty one.
    fileprivate static func head(_ bytes: UnsafeRawBufferPointer, from start: Int) -> HeadRecognition {
        guard let base = bytes.baseAddress else { return .incomplete }
        var head = Head()
        var hosts = 0
        var line = start
        // Bounds the search, and with it what an endless head costs.
        let bound = min(bytes.count, RequestBounds.headBytes)
        for _ in 0...maximumLines {
            guard line < bound, let found = memchr(base + line, 0x0a, bound - line) else {
                return bytes.count < RequestBounds.headBytes ? .incomplete : .other
            }
            let end = UnsafeRawPointer(found) - base - 1
            guard end >= line, bytes[end] == 0x0d else { return .other }
            if end == line {
                guard hosts == 1 else { return .other }
                head.end = end + 2
                return .found(head)
            }
            guard readLine(UnsafeRawBufferPointer(rebasing: bytes[line..<end]), into: &head, &hosts) else {
                return .other
            }
            line = end + 2
        }
        return .other
    }

    /// Takes note of one header line; false where it is unusual.
    private static func readLine(_ line: UnsafeRawBufferPointer, into head: inout Head, _ hosts: inout Int) -> Bool {
        var colon = 0
        while colon < line.count, isToken(line[colon]) { colon += 1 }
        guard colon > 0, colon < line.count, line[colon] == 0x3a else { return false }
        var start = colon + 1
        while start < line.count, line[start] == 0x20 { start += 1 }
        let value = UnsafeRawBufferPointer(rebasing: line[start...])
        guard isPlain(value) else { return false }
        let name = UnsafeRawBufferPointer(rebasing: line[..<colon])
        switch colon {
        case 4 where equals(name, "host"): hosts += 1
        case 6 where equals(name, "expect"): return false
        case 7 where equals(name, "upgrade"): return false
        case 10 where equals(name, "connection"): return equals(value, "keep-alive")
        case 12 where equals(name, "content-type"):
            head.contentTypes += 1
            // Of several the slow path takes the first.
            head.hasOrdinaryBody = head.contentTypes == 1 && isJSON(value)
        case 14 where equals(name, "content-length"):
            guard head.contentLength == nil, let length = length(value) else { return false }
            head.contentLength = length
        // A check with an id is a call.
        case 15 where equals(name, "idempotency-key"): return false
        // To llhttp another name of Connection.
        case 16 where equals(name, "proxy-connection"): return false
        case 17 where equals(name, "transfer-encoding"): return false
        default: break
        }
        return true
    }

    /// `application/json`, with or without parameters.
    static func isJSON(_ mediaType: UnsafeRawBufferPointer) -> Bool {
        let json = UnsafeRawBufferPointer(rebasing: mediaType.prefix(16))
        guard equals(json, "application/json") else { return false }
        return mediaType.count == 16 || mediaType[16] == 0x3b || mediaType[16] == 0x20
    }

    /// Whether a value is printable ASCII, so that no parser could read it in another way.
    private static func isPlain(_ value: UnsafeRawBufferPointer) -> Bool {
        var index = 0
        while index + 8 <= value.count {
            // Eight bytes at once: the top bit of one shows where it is below 0x20, is 0x7f, or is above.
            let word = value.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            let odd = word | (word &- 0x2020_2020_2020_2020) | (word &+ 0x0101_0101_0101_0101)
            if odd & 0x8080_8080_8080_8080 != 0 { return false }
            index += 8
        }
        while index < value.count {
            if value[index] &- 0x20 >= 0x5f { return false }
            index += 1
        }
        return value.last != 0x20
    }

    /// Letters, digits, `-` and `_`: bit n of a word stands for the character n, or n + 64.
    private static func isToken(_ byte: UInt8) -> Bool {
        let set: UInt64 = byte < 64 ? 0x03ff_2000_0000_0000 : 0x07ff_fffe_87ff_fffe
        return byte < 128 && set &>> UInt64(byte & 63) & 1 == 1
    }

    /// A body of at most four digits: longer ones are no ordinary call.
    private static func length(_ text: UnsafeRawBufferPointer) -> Int? {
        guard (1...4).contains(text.count) else { return nil }
        var value = 0
        for byte in text {
            guard byte &- 0x30 < 10 else { return nil }
            value = value * 10 + Int(byte &- 0x30)
        }
        return value
    }

    /// Compares letters, digits and `-` with a text in lower case, without regard to case.
    private static func equals(_ bytes: UnsafeRawBufferPointer, _ text: StaticString) -> Bool {
        guard bytes.count == text.utf8CodeUnitCount else { return false }
        var difference: UInt8 = 0
        for index in 0..<bytes.count {
            // The bit that makes a capital small is set in digits and `-` already.
            difference |= (bytes[index] | 0x20) ^ text.utf8Start[index]
        }
        return difference == 0
    }
}

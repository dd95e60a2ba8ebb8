import RateLimitCore

/// Takes a lease's bytes apart, never past their end.
struct LeaseReader {
    private let all: UnsafeRawBufferPointer
    private var position = 0

    init(_ bytes: UnsafeRawBufferPointer) { all = bytes }

    mutating func bytes(_ count: Int) -> UnsafeRawBufferPointer? {
        guard all.count - position >= count else { return nil }
        defer { position += count }
        return UnsafeRawBufferPointer(rebasing: all[position..<position + count])
    }

    mutating func byte() -> UInt8? { bytes(1)?.first }

    mutating func number(bytes count: Int) -> Int? { bytes(count).map { $0.reduce(0) { $0 << 8 | Int($1) } } }

    mutating func word() -> UInt64? { bytes(8).map { $0.reduce(0) { $0 << 8 | UInt64($1) } } }

    mutating func subject() -> SubjectID? {
        guard let length = number(bytes: 2) else { return nil }
        guard length > 0 else {
            guard let high = word(), let low = word() else { return nil }
            return SubjectID(high: high, low: low)
        }
        guard let text = bytes(length), let subject = SubjectID(text), !subject.isUUID else { return nil }
        return subject
    }

    /// A text behind its length in two bytes.
    mutating func text() -> String? {
        guard let length = number(bytes: 2), let text = bytes(length) else { return nil }
        return String(validating: text, as: UTF8.self)
    }

    /// By which values a lease is held, of labels by their places; nil for what no lease writes.
    mutating func heldValues(naming labels: [String]) -> [ValueWindows]? {
        guard let count = byte(), 1...LimitSet.maximumCount ~= Int(count) else { return nil }
        var held: [ValueWindows] = []
        for _ in 0..<count {
            guard let flags = byte(), flags & 3 < Lease.ValueFlag.scopes.count else { return nil }
            var values: [CallValue] = []
            if flags & Lease.ValueFlag.group != 0 { values.append(.group) }
            if flags & Lease.ValueFlag.model != 0 { values.append(.model) }
            if flags & Lease.ValueFlag.provider != 0 { values.append(.provider) }
            for _ in 0..<flags >> 5 {
                guard let place = byte(), labels.indices.contains(Int(place)) else { return nil }
                values.append(.label(labels[Int(place)]))
            }
            guard let windows = ValueWindows(Lease.ValueFlag.scopes[Int(flags & 3)], values), windows.values == values,
                !held.contains(windows)
            else { return nil }
            held.append(windows)
        }
        return held
    }

    /// The quotas of a call, one at least; nil for what no lease writes.
    mutating func quotas() -> [CallQuota]? {
        guard let count = byte(), 1...LimitSet.maximumCount ~= Int(count) else { return nil }
        var quotas: [CallQuota] = []
        for _ in 0..<count {
            guard let id = number(bytes: 4), let amount = number(bytes: 6),
                let quota = CallQuota(of: UInt32(id), amount)
            else { return nil }
            quotas.append(quota)
        }
        return quotas
    }

    var isAtEnd: Bool { position == all.count }
}

/// Puts a lease's bytes together in memory of just their number.
struct LeaseWriter {
    private let target: UnsafeMutableRawBufferPointer
    private var position = 0

    init(_ target: UnsafeMutableRawBufferPointer) { self.target = target }

    var isFull: Bool { position == target.count }

    mutating func write(_ value: UInt64, _ count: Int) {
        for shift in (0..<count).reversed() {
            target[position] = UInt8(truncatingIfNeeded: value >> UInt64(8 * shift))
            position += 1
        }
    }

    private mutating func write(_ bytes: UnsafeRawBufferPointer) {
        precondition(bytes.count <= target.count - position)
        UnsafeMutableRawBufferPointer(rebasing: target[position...]).copyMemory(from: bytes)
        position += bytes.count
    }

    mutating func write(_ subject: SubjectID) {
        // The length 0 stands for a UUID, which needs less as a number.
        guard !subject.isUUID else {
            write(0, 2)
            write(subject.high, 8)
            return write(subject.low, 8)
        }
        subject.withText { text in
            write(UInt64(text.count), 2)
            write(text)
        }
    }

    mutating func write(_ text: String) {
        var text = text
        text.withUTF8 { text in
            write(UInt64(text.count), 2)
            write(UnsafeRawBufferPointer(text))
        }
    }

    static func count(of subject: SubjectID) -> Int {
        2 + (subject.isUUID ? 16 : subject.withText(\.count))
    }
}

/// How long a client waits, as the header `grpc-timeout` says it: up to 8 digits and a unit.
enum CallTimeout {
    /// In nanoseconds, at most `UInt64.max`; nil where it is not understood.
    static func nanoseconds(_ bytes: UnsafePointer<UInt8>, length: Int) -> UInt64? {
        guard length >= 2, length <= 9 else { return nil }
        var value: UInt64 = 0
        for index in 0..<length - 1 {
            guard case UInt8(ascii: "0")...UInt8(ascii: "9") = bytes[index] else { return nil }
            value = value * 10 + UInt64(bytes[index] - UInt8(ascii: "0"))
        }
        let unit: UInt64
        switch bytes[length - 1] {
        case UInt8(ascii: "n"): unit = 1
        case UInt8(ascii: "u"): unit = 1_000
        case UInt8(ascii: "m"): unit = 1_000_000
        case UInt8(ascii: "S"): unit = 1_000_000_000
        case UInt8(ascii: "M"): unit = 60_000_000_000
        case UInt8(ascii: "H"): unit = 3_600_000_000_000
        default: return nil
        }
        let (product, hasOverflown) = value.multipliedReportingOverflow(by: unit)
        return hasOverflown ? .max : product
    }
}

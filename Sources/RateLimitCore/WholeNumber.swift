/// Reads whole numbers as JSON and YAML write them: `1200`, `1200.0` and `1.2e3` are one number.
public enum WholeNumber {
    /// How many digits a number may have, its exponent resolved: more than any bound of a quota, cost or count.
    public static let maximumDigits = 18

    /// Exponents beyond this are as good as endless.
    private static let largestExponent = 100_000

    /// The number that a text stands for; nil where the text is no number of JSON's (RFC 8259, section 6), where it has a
    /// fraction or is below 0, and where it has more than ``maximumDigits``. One pass, and nothing is allocated.
    public static func read(_ text: some Collection<UInt8>) -> Int? {
        var reader = Reader(text[...])
        let isNegative = reader.skip(0x2d)
        guard reader.readWhole() else { return nil }
        if reader.skip(0x2e), !reader.readFraction() { return nil }
        guard let exponent = reader.readExponent(), reader.isAtEnd else { return nil }
        return reader.value == 0 ? 0 : isNegative ? nil : reader.scaled(by: exponent)
    }

    private struct Reader<Text: Collection<UInt8>> where Text.SubSequence == Text {
        private var left: Text
        /// The digits so far without leading zeros and without the zeros at their end.
        private(set) var value = 0
        private var digits = 0
        /// The zeros behind the last other digit.
        private var zeros = 0
        /// How many digits stand behind the point.
        private var places = 0

        init(_ text: Text) { left = text }

        var isAtEnd: Bool { left.isEmpty }

        mutating func skip(_ byte: UInt8) -> Bool {
            guard left.first == byte else { return false }
            left.removeFirst()
            return true
        }

        /// Reads the digits before the point: 0, or any without a leading zero.
        mutating func readWhole() -> Bool {
            if skip(0x30) { return true }
            return readDigits() > 0
        }

        mutating func readFraction() -> Bool {
            places = readDigits()
            return places > 0
        }

        private mutating func readDigits() -> Int {
            var count = 0
            while let digit = left.first, digit &- 0x30 < 10 {
                left.removeFirst()
                count += 1
                append(Int(digit &- 0x30))
            }
            return count
        }

        private mutating func append(_ digit: Int) {
            guard digit > 0 else {
                if digits > 0 { zeros += 1 }
                return
            }
            digits += zeros + 1
            if digits <= maximumDigits {
                for _ in 0..<zeros { value *= 10 }
                value = value * 10 + digit
            }
            zeros = 0
        }

        /// The exponent, 0 where there is none; nil where it has no digits.
        mutating func readExponent() -> Int? {
            guard skip(0x65) || skip(0x45) else { return 0 }
            let isNegative = skip(0x2d)
            if !isNegative { _ = skip(0x2b) }
            var exponent = 0
            var count = 0
            while let digit = left.first, digit &- 0x30 < 10 {
                left.removeFirst()
                count += 1
                exponent = min(exponent * 10 + Int(digit &- 0x30), largestExponent)
            }
            return count == 0 ? nil : isNegative ? -exponent : exponent
        }

        /// The value times ten to the power that exponent and point come to; nil where that is no whole number in bounds.
        func scaled(by exponent: Int) -> Int? {
            let power = zeros - places + exponent
            guard power >= 0, digits + power <= maximumDigits else { return nil }
            return (0..<power).reduce(value) { number, _ in number * 10 }
        }
    }
}

import Foundation
import TestSupport
import Testing

@testable import RateLimitCore

@Suite("A whole number")
struct WholeNumberTests {
    @Test(
        "is read however JSON writes it",
        arguments: [
            ("0", 0), ("7", 7), ("1200", 1200), ("1200.0", 1200), ("1200.000", 1200), ("1.2e3", 1200), ("1.2E+3", 1200),
            ("12e2", 1200), ("120000e-2", 1200), ("0.0012e6", 1200), ("1.0", 1), ("1e0", 1), ("-0", 0), ("-0.0e9", 0),
            ("0e999999999999999999999", 0), ("0.000", 0), ("10", 10), ("100e-2", 1), ("1e17", 100_000_000_000_000_000),
            ("999999999999999999", 999_999_999_999_999_999), ("1\(String(repeating: "0", count: 5000))e-5000", 1),
            ("1.\(String(repeating: "0", count: 5000))", 1),
        ])
    func good(_ text: String, _ number: Int) {
        #expect(WholeNumber.read(text.utf8) == number)
    }

    @Test(
        "is none with a fraction, below 0, beyond all bounds, or as text that is no number",
        arguments: [
            "", "-", "+1", "01", "00", ".5", "5.", "1e", "1e+", "e1", "1200.5", "0.1", "1e-1", "12e-1", "-1", "-1.0",
            "1e18", "1e999999999999999999999", "1e-999999999999999999999", "1000000000000000000", "9999999999999999999",
            "1.0000000000000000000000001", "\"1\"", "1 ", " 1", "1,0", "1_000", "0x1", "NaN", "Infinity", "null",
            "1e1.0",
            "1.2.3", "１",
        ])
    func bad(_ text: String) {
        #expect(WholeNumber.read(text.utf8) == nil)
    }

    @Test("is what Foundation's decimal numbers say of any text of such characters")
    func random() {
        var random = SeededGenerator(seed: 11)
        let letters = Array("0123456789012300.e-")
        for _ in 0..<20_000 {
            let text = String(
                (0..<Int.random(in: 1...8, using: &random)).map { _ in letters.randomElement(using: &random)! })
            let isNumber = text.wholeMatch(of: /-?(0|[1-9][0-9]*)(\.[0-9]+)?(e-?[0-9]{1,2})?/) != nil
            guard isNumber, let decimal = Decimal(string: text) else {
                if text.wholeMatch(of: /-?(0|[1-9][0-9]*)(\.[0-9]+)?(e-?[0-9]+)?/) == nil {
                    #expect(WholeNumber.read(text.utf8) == nil, "\(text)")
                }
                continue
            }
            var (rounded, value) = (Decimal(), decimal)
            NSDecimalRound(&rounded, &value, 0, .down)
            let isWhole =
                rounded == decimal && decimal >= 0 && decimal < Decimal(sign: .plus, exponent: 18, significand: 1)
            let expected = isWhole ? (decimal as NSDecimalNumber).intValue : nil
            #expect(WholeNumber.read(text.utf8) == expected, "\(text)")
        }
    }
}

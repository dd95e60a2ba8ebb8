import RateLimitCore
import TestSupport
import Testing

@Suite("The nearest name")
struct NearestNameTests {
    private let names = ["tokens", "tokens-day", "requests", "spend"]

    @Test(
        "is the one of the fewest edits",
        arguments: [
            ("tokens", "tokens"), ("token", "tokens"), ("tokens-dya", "tokens-day"), ("reqeusts", "requests"),
            ("spent", "spend"), ("x", "spend"),
        ])
    func nearest(_ name: String, _ expected: String) {
        #expect(nearestName(to: name, among: names) == expected)
    }

    @Test("is the first of two that are as near, and none among no names")
    func ties() {
        #expect(nearestName(to: "b", among: ["a", "c"]) == "a" && nearestName(to: "b", among: ["c", "a"]) == "c")
        #expect(nearestName(to: "a", among: [String]()) == nil)
    }

    @Test("is found for a name of any length by its first 64 bytes")
    func long() {
        let name = "requests" + String(repeating: "x", count: 1_000_000)
        #expect(nearestName(to: name, among: names) != nil)
    }

    @Test("is as far as so many bytes put in, taken out, exchanged or swapped with their neighbour")
    func distances() {
        func distance(_ one: String, _ other: String) -> Int { editDistance(Array(one.utf8), Array(other.utf8)) }
        let rows = [
            ("", "", 0), ("", "abc", 3), ("abc", "abd", 1), ("abc", "acb", 1), ("abc", "bca", 2), ("ab", "xaby", 2),
        ]
        for (one, other, edits) in rows {
            #expect(distance(one, other) == edits && distance(other, one) == edits, "\(one), \(other)")
        }
        var random = SeededGenerator(seed: 3)
        func text() -> String {
            String((0..<Int.random(in: 0...6, using: &random)).map { _ in Bool.random(using: &random) ? "a" : "b" })
        }
        for _ in 0..<300 {
            let (one, other) = (text(), text())
            let edits = distance(one, other)
            #expect(edits == distance(other, one) && (edits == 0) == (one == other))
            #expect((abs(one.count - other.count)...max(one.count, other.count)).contains(edits), "\(one), \(other)")
        }
    }
}

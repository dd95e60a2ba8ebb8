import Testing

@testable import HTTPServer

@Suite("A wait in words")
struct WaitTextTests {
    private func text(_ seconds: Int) -> String {
        var writer = ByteWriter()
        writer.write(waitOfSeconds: seconds)
        return String(decoding: writer.bytes, as: UTF8.self)
    }

    @Test(
        "names every unit that is not 0",
        arguments: [
            (725, "12 minutes 5 seconds"), (0, "0 seconds"), (-5, "0 seconds"), (1, "1 second"), (2, "2 seconds"),
            (59, "59 seconds"), (60, "1 minute"), (61, "1 minute 1 second"), (120, "2 minutes"),
            (3_599, "59 minutes 59 seconds"),
            (3_600, "1 hour"), (3_601, "1 hour 1 second"), (7_260, "2 hours 1 minute"),
            (86_399, "23 hours 59 minutes 59 seconds"),
            (86_400, "1 day"), (90_061, "1 day 1 hour 1 minute 1 second"), (172_800, "2 days"),
            (31_535_999, "364 days 23 hours 59 minutes 59 seconds"), (31_536_000, "365 days"),
        ])
    func words(_ seconds: Int, _ words: String) {
        #expect(text(seconds) == words)
    }

    @Test("comes to just the wait when its units are added up")
    func sum() {
        let lengths = ["day": 86_400, "hour": 3_600, "minute": 60, "second": 1]
        for seconds in Array(0..<8_000) + stride(from: 8_000, to: 400_000, by: 997) {
            let words = text(seconds).split(separator: " ")
            var sum = 0
            for index in stride(from: 0, to: words.count, by: 2) {
                let unit = words[index + 1].hasSuffix("s") ? words[index + 1].dropLast() : words[index + 1]
                sum += (Int(words[index]) ?? 0) * (lengths[String(unit)] ?? 0)
            }
            #expect(sum == seconds)
        }
    }
}

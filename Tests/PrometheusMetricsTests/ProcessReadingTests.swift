import Glibc
import Testing

@testable import PrometheusMetrics

@Suite("The metrics of the process")
struct ProcessReadingTests {
    @Test("Every reading has a plausible value")
    func plausible() throws {
        let cpu = try #require(ProcessReading.cpuSeconds.read().flatMap { Double($0) })
        let resident = try #require(ProcessReading.residentBytes.read().flatMap { Int($0) })
        let maximum = try #require(ProcessReading.maximumDescriptors.read().flatMap { Int($0) })
        let start = try #require(ProcessReading.startTime.read().flatMap { Double($0) })
        let now = Double(time(nil))
        #expect(cpu > 0 && cpu < 3_600)
        #expect(resident > 1 << 20 && resident < 1 << 34)
        #expect(maximum >= 64)
        #expect(start <= now + 1 && start > now - 7_200)
    }

    @Test("Open descriptors are counted")
    func descriptors() throws {
        let opened = (0..<40).map { _ in dup(2) }
        let during = try #require(ProcessReading.openDescriptors.read().flatMap { Int($0) })
        #expect(during >= 43)
        #expect(opened.allSatisfy { $0 >= 0 })
        for descriptor in opened { close(descriptor) }
    }

    @Test("The start is found after a program name that looks like fields")
    func programName() {
        let stat = "7 (a) b 1 (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 155203 99\n"
        #expect(startTicks(inStat: stat) == 155_203)
        #expect(startTicks(inStat: "7 (a) S 1") == nil)
        #expect(startTicks(inStat: "") == nil)
    }
}

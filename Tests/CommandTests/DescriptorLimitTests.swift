import Testing

@testable import llm_rate_limit

@Suite("File descriptors")
struct DescriptorLimitTests {
    @Test(
        "Connections get what the limit leaves, and never less than one",
        arguments: [(10_000, 16_384, 1, 10_000), (10_000, 1_024, 1, 984), (10_000, 1_024, 4, 960), (5, 20, 1, 1)])
    func connections(wanted: Int, descriptors: Int, threads: Int, expected: Int) {
        #expect(DescriptorLimit.connections(wanted, descriptors: descriptors, threads: threads) == expected)
    }

    @Test("An unknown limit changes nothing")
    func unknown() {
        #expect(DescriptorLimit.connections(10_000, descriptors: nil, threads: 1) == 10_000)
    }
}

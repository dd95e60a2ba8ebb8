import Testing

@testable import GRPCServer

@Suite("gRPC's codes")
struct GRPCErrorTests {
    @Test("are those of its specification")
    func codes() {
        #expect(GRPCError.Code.unimplemented.rawValue == 12)
        #expect(GRPCError.Code.unavailable.rawValue == 14)
    }
}

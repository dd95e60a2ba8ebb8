import RateLimitCore
import RedisClient
import Testing

@testable import RateLimitService

@Suite("The slots of users")
struct UserSlotsTests {
    @Test("are those of their keys, and of further keys named after them", arguments: ["llm-rate", "a", "team:rate/1"])
    func users(_ prefix: String) {
        let slots = UserSlots(keyPrefix: prefix)
        var seen: Set<HashSlot> = []
        for _ in 0..<200 {
            let user = someUser()
            let slot = slots.slot(of: user)
            #expect(slot == HashSlot(key: Array("\(prefix):\(user)".utf8)))
            #expect(slot == HashSlot(key: Array("{\(prefix):\(user)}:lease".utf8)))
            seen.insert(slot)
        }
        #expect(seen.count > 150)
    }
}

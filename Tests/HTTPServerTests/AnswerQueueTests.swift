import TestSupport
import Testing

@testable import HTTPServer

@Suite("The answers of one connection")
struct AnswerQueueTests {
    /// Decides tickets in an order and gives the answers as they would be written.
    private func written(_ order: [Int], of count: Int) -> [Int] {
        var queue = AnswerQueue<Int>()
        for ticket in 0..<count { #expect(queue.makeTicket() == ticket) }
        var written: [Int] = []
        for ticket in order {
            if queue.mayWrite(ticket) {
                written.append(ticket)
                while let ready = queue.nextReady() {
                    #expect(ready.ticket == ready.answer)
                    written.append(ready.answer)
                }
            } else {
                queue.keep(ticket, for: ticket)
            }
            #expect(queue.open == count - written.count)
        }
        return written
    }

    @Test("go out at once when they come in the order of the requests")
    func inOrder() {
        var queue = AnswerQueue<Int>()
        for ticket in 0..<1_000 {
            #expect(queue.makeTicket() == ticket)
            #expect(queue.open == 1)
            let mayWrite = queue.mayWrite(ticket)
            #expect(mayWrite)
            #expect(queue.nextReady() == nil)
            #expect(queue.open == 0)
        }
    }

    @Test("wait for the older ones and then go out in the order of the requests")
    func reversed() {
        #expect(written([3, 2, 1, 0], of: 4) == [0, 1, 2, 3])
        #expect(written([1, 0, 3, 2], of: 4) == [0, 1, 2, 3])
        #expect(written([3, 1], of: 4) == [])
        #expect(written([2, 0], of: 4) == [0])
    }

    @Test("go out in the order of the requests whatever order they come in")
    func shuffled() {
        var random = SeededGenerator(seed: 1)
        for count in 1..<60 {
            let order = Array(0..<count).shuffled(using: &random)
            #expect(written(order, of: count) == Array(0..<count))
        }
    }

    @Test("go out in order while requests keep coming")
    func interleaved() {
        for seed in UInt64(0)..<50 {
            var random = SeededGenerator(seed: seed)
            var queue = AnswerQueue<Int>()
            var undecided: [Int] = []
            var written: [Int] = []
            for _ in 0..<500 {
                if undecided.isEmpty || Bool.random(using: &random) {
                    undecided.append(queue.makeTicket())
                } else {
                    let ticket = undecided.remove(at: Int.random(in: undecided.indices, using: &random))
                    if queue.mayWrite(ticket) {
                        written.append(ticket)
                        while let ready = queue.nextReady() { written.append(ready.answer) }
                    } else {
                        queue.keep(ticket, for: ticket)
                    }
                }
            }
            #expect(written == Array(0..<written.count))
            #expect(written.count == undecided.min() ?? queue.next)
        }
    }
}

import CEpoll
import Glibc

/// The connections of a load and the one epoll that drives them.
///
/// An event is one `recv`, the scan of what came, one clock reading and one `send` with as many requests as answers
/// came: nothing is allocated, and no second `recv` asks whether there is more, because epoll reports levels.
struct LoadLoop: ~Copyable {
    /// Room for received bytes of a connection: the longest answer that is understood.
    static let receiveCapacity = 16_384
    private static let eventsPerTurn = 256
    private static let patienceNanoseconds = UInt64(Endpoint.patienceSeconds) * 1_000_000_000
    private static let inspectionNanoseconds: UInt64 = 250_000_000

    private struct Connection {
        var descriptor: Int32 = -1
        /// Bytes of an answer that has not come whole.
        var filled = 0
        var unanswered = 0
        /// Where in the ring of sending times the oldest unanswered request is.
        var oldest = 0
        /// The stream of its next request, where requests have streams; the preface takes the first.
        var nextStream: UInt32 = 3
        /// Whether the unanswered request is the one that follows on an answer.
        var isFollowUp = false
        /// What a full socket did not take; empty but for the rarest moments.
        var unsent: [UInt8] = []
    }

    private let target: Endpoint
    private let template: RequestTemplate
    private let answers: AnswerFormat
    private let depth: Int
    private let followUp: FollowUp?
    private var picker: UserPicker?
    private let epoll: Int32
    private var connections: [Connection]
    private let received: UnsafeMutablePointer<UInt8>
    private let sentAt: UnsafeMutablePointer<UInt64>
    private let outgoing: UnsafeMutablePointer<UInt8>
    /// The request that follows, for each connection, with its user.
    private let following: UnsafeMutablePointer<UInt8>
    private var events: [epoll_event]
    private var nextInspection: UInt64 = 0
    private var draining = false

    /// Whether answers count.
    var recording = false
    /// The clock at the last event.
    private(set) var now = monotonicNanoseconds()
    /// Answers since the load began.
    private(set) var answered = 0
    /// Answers while recording.
    private(set) var tally = LoadReport.Tally()
    private(set) var latencies = LatencyHistogram()
    private(set) var lostConnections = 0

    init(_ load: Load) throws(LoadError) {
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        target = load.target
        template = load.traffic.template
        answers = load.traffic.answers
        depth = load.pipelineDepth
        picker = load.traffic.mix.map(UserPicker.init)
        connections = [Connection](repeating: Connection(), count: load.connections)
        received = .allocate(capacity: load.connections * Self.receiveCapacity)
        sentAt = .allocate(capacity: load.connections * depth)
        sentAt.initialize(repeating: 0, count: load.connections * depth)
        outgoing = .allocate(capacity: depth * template.bytes.count)
        followUp = load.traffic.followUp
        let length = followUp?.template.bytes.count ?? 0
        following = .allocate(capacity: load.connections * length)
        if let followUp {
            for index in 0..<load.connections {
                (following + index * length).initialize(from: followUp.template.bytes, count: length)
            }
        }
        for slot in 0..<depth {
            (outgoing + slot * template.bytes.count).initialize(from: template.bytes, count: template.bytes.count)
        }
        events = [epoll_event](repeating: epoll_event(), count: Self.eventsPerTurn)
        if epoll < 0 { throw .system(call: "open an epoll", reason: systemReason()) }
    }

    deinit {
        for connection in connections where connection.descriptor >= 0 { close(connection.descriptor) }
        if epoll >= 0 { close(epoll) }
        received.deallocate()
        sentAt.deallocate()
        outgoing.deallocate()
        following.deallocate()
    }

    /// Opens every connection, then lets each send its first requests.
    mutating func start() throws(LoadError) {
        for index in connections.indices { try open(index) }
        now = monotonicNanoseconds()
        for index in connections.indices { try send(index, requests: depth) }
    }

    /// Waits for events, at most a quarter of a second, and serves them.
    mutating func turn() throws(LoadError) {
        let count = Int(epoll_wait(epoll, &events, Int32(Self.eventsPerTurn), 250))
        if count < 0, errno != EINTR { throw .system(call: "wait for events", reason: systemReason()) }
        if count <= 0 { now = monotonicNanoseconds() }
        for event in 0..<max(count, 0) {
            let index = Int(events[event].data.u32)
            if !connections[index].unsent.isEmpty { try sendRest(index) }
            try receive(index)
        }
        if now >= nextInspection { try inspect() }
    }

    /// Sends nothing more and waits until every request is answered.
    mutating func drain() throws(LoadError) {
        draining = true
        recording = false
        while connections.contains(where: { $0.unanswered > 0 }) { try turn() }
    }

    private mutating func open(_ index: Int) throws(LoadError) {
        let descriptor = try target.connect()
        connections[index] = Connection(descriptor: descriptor)
        _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
        try watch(index, EPOLL_CTL_ADD, EPOLLIN.rawValue)
        guard !template.preface.isEmpty else { return }
        try template.preface.withUnsafeBufferPointer { bytes throws(LoadError) in
            try write(index, UnsafeRawBufferPointer(bytes))
        }
    }

    private func watch(_ index: Int, _ operation: Int32, _ interest: UInt32) throws(LoadError) {
        var event = epoll_event()
        event.events = interest
        event.data.u32 = UInt32(index)
        if epoll_ctl(epoll, operation, connections[index].descriptor, &event) != 0 {
            throw .system(call: "watch a connection", reason: systemReason())
        }
    }

    private mutating func receive(_ index: Int) throws(LoadError) {
        let filled = connections[index].filled
        let buffer = received + index * Self.receiveCapacity
        let count = recv(connections[index].descriptor, buffer + filled, Self.receiveCapacity - filled, 0)
        now = monotonicNanoseconds()
        if count < 0, errno == EAGAIN || errno == EINTR { return }
        guard count > 0 else { return try reopen(index) }
        var offset = 0
        let end = filled + count
        var served = 0
        scan: while offset < end {
            switch answers.scan(UnsafeBufferPointer(start: buffer + offset, count: end - offset)) {
            case .incomplete: break scan
            case .passing(let length): offset += length
            case .answer(let length, .allowed) where followUp != nil && !connections[index].isFollowUp:
                try follow(index, UnsafeBufferPointer(start: buffer + offset, count: length))
                connections[index].filled = 0
                return
            case .answer(let length, let outcome) where served < connections[index].unanswered:
                record(index, served, outcome)
                connections[index].isFollowUp = false
                served += 1
                offset += length
            case .answer, .malformed: throw .malformedAnswer(target: target.description)
            }
        }
        if offset == 0, end == Self.receiveCapacity { throw .malformedAnswer(target: target.description) }
        if offset > 0, offset < end { memmove(buffer, buffer + offset, end - offset) }
        connections[index].filled = end - offset
        connections[index].unanswered -= served
        connections[index].oldest = (connections[index].oldest + served) % depth
        answered += served
        if served > 0, !draining { try send(index, requests: served) }
    }

    private mutating func record(_ index: Int, _ place: Int, _ outcome: Outcome) {
        guard recording else { return }
        let sent = sentAt[index * depth + (connections[index].oldest + place) % depth]
        latencies.record(nanoseconds: now - sent)
        tally.add(outcome)
    }

    private mutating func send(_ index: Int, requests: Int) throws(LoadError) {
        let size = template.bytes.count
        let first = connections[index].oldest + connections[index].unanswered
        for slot in 0..<requests {
            sentAt[index * depth + (first + slot) % depth] = now
            if let offset = template.userOffset { picker?.copyNext(to: outgoing + slot * size + offset) }
            for offset in template.streamOffsets {
                UnsafeMutableRawPointer(outgoing + slot * size + offset).storeBytes(
                    of: connections[index].nextStream.bigEndian, as: UInt32.self)
            }
            connections[index].nextStream += 2
        }
        if let followUp, let offset = template.userOffset, let place = followUp.template.userOffset {
            let user = following + index * followUp.template.bytes.count + place
            user.update(from: outgoing + offset, count: Users.textLength)
        }
        connections[index].unanswered += requests
        try write(index, UnsafeRawBufferPointer(start: outgoing, count: requests * size))
    }

    /// Sends what follows on an allowed answer; the request counts as answered when that is.
    private mutating func follow(_ index: Int, _ answer: UnsafeBufferPointer<UInt8>) throws(LoadError) {
        guard let followUp, let base = answer.baseAddress, let lease = followUp.lease(in: answer) else {
            throw .malformedAnswer(target: target.description)
        }
        connections[index].isFollowUp = true
        let request = following + index * followUp.template.bytes.count
        (request + followUp.leaseOffset).update(from: base + lease.lowerBound, count: lease.count)
        try write(index, UnsafeRawBufferPointer(start: request, count: followUp.template.bytes.count))
    }

    private mutating func sendRest(_ index: Int) throws(LoadError) {
        let rest = connections[index].unsent
        connections[index].unsent = []
        try watch(index, EPOLL_CTL_MOD, EPOLLIN.rawValue)
        try rest.withUnsafeBufferPointer { bytes throws(LoadError) in try write(index, UnsafeRawBufferPointer(bytes)) }
    }

    /// Writes at once; what a full socket does not take is kept until epoll says that it does.
    private mutating func write(_ index: Int, _ bytes: UnsafeRawBufferPointer) throws(LoadError) {
        if !connections[index].unsent.isEmpty {
            connections[index].unsent.append(contentsOf: bytes)
            return
        }
        let flags = Int32(MSG_NOSIGNAL)
        let sent = Glibc.send(connections[index].descriptor, bytes.baseAddress, bytes.count, flags)
        if sent == bytes.count { return }
        if sent < 0, errno != EAGAIN, errno != EINTR { return }  // A closed peer: the next recv says so.
        connections[index].unsent = Array(bytes[max(sent, 0)...])
        try watch(index, EPOLL_CTL_MOD, EPOLLIN.rawValue | EPOLLOUT.rawValue)
    }

    /// The peer has closed: its unanswered requests are lost, and a new connection takes the place.
    private mutating func reopen(_ index: Int) throws(LoadError) {
        close(connections[index].descriptor)
        connections[index] = Connection()
        lostConnections += 1
        if lostConnections > Load.maximumLostConnections {
            throw .connectionsLost(target: target.description, count: lostConnections)
        }
        if draining { return }
        try open(index)
        try send(index, requests: depth)
    }

    /// Looks for a request without an answer, four times a second.
    private mutating func inspect() throws(LoadError) {
        nextInspection = now + Self.inspectionNanoseconds
        for (index, connection) in connections.enumerated() where connection.unanswered > 0 {
            if now - sentAt[index * depth + connection.oldest] > Self.patienceNanoseconds {
                throw .noAnswer(target: target.description)
            }
        }
    }
}

/// Picks the user of each request and copies its text into place.
struct UserPicker {
    private let mix: CheckMix
    private var numbers = SplitMix(state: 0x10ad)
    private var nextIndex = 0

    init(_ mix: CheckMix) {
        self.mix = mix
    }

    mutating func copyNext(to place: UnsafeMutablePointer<UInt8>) {
        if mix.deniedSharePercent > 0, numbers.next(below: 100) < mix.deniedSharePercent {
            return Self.copy(mix.deniedUser, 0, to: place)
        }
        switch mix.users.order {
        case .random: Self.copy(mix.users, numbers.next(below: mix.users.count), to: place)
        case .roundRobin:
            Self.copy(mix.users, nextIndex, to: place)
            nextIndex = nextIndex + 1 == mix.users.count ? 0 : nextIndex + 1
        }
    }

    private static func copy(_ users: Users, _ index: Int, to place: UnsafeMutablePointer<UInt8>) {
        users.text.withUnsafeBufferPointer { text in
            place.update(from: text.baseAddress! + index * Users.textLength, count: Users.textLength)
        }
    }
}

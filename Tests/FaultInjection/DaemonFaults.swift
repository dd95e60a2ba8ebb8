import Glibc
import TestSupport

extension Fault {
    /// What happens to a daemon.
    static let daemonFaults: [Fault] = [
        Fault("daemon killed -9") { testbed, draw in
            let place = testbed.place(draw.target)
            place.kill()
            pause(milliseconds: draw.durationMilliseconds / 3)
            try place.start()
        },
        Fault("daemon stopped", holdsAnswers: true) { testbed, draw in
            let place = testbed.place(draw.target)
            place.send(SIGSTOP)
            pause(milliseconds: draw.durationMilliseconds)
            place.send(SIGCONT)
        },
        Fault("limit changed by SIGHUP") { testbed, draw in
            let group = testbed.groups[draw.target % testbed.groups.count]
            // One daemon after the other: for a while they decide under different limits, on the same windows.
            for quota in [group.quota + 1 + draw.target % 5, max(1, group.quota - 2), group.quota] {
                for place in group.places { try place.reload(quota: quota) }
                pause(milliseconds: draw.durationMilliseconds / 2)
            }
        },
        Fault("users reset") { testbed, draw in
            let group = testbed.groups[draw.target % testbed.groups.count]
            group.resetUsers(at: group.places[draw.target % group.places.count])
        },
    ]

    /// An upgrade, and the way back: a daemon ends, and that of the next program takes its place.
    package static let daemonExchanged = Fault("daemon exchanged") { testbed, draw in
        try testbed.place(draw.target).exchange()
    }

    /// What clients do.
    static let clientFaults: [Fault] = [
        Fault("clients hang up") { testbed, draw in
            for _ in 0..<3 {
                testbed.hangUps.add()
                pause(milliseconds: 20 + draw.durationMilliseconds % 30)
            }
        }
    ]
}

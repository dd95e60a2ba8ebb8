import Synchronization

/// Whom the load asks for: users who ask once, users who are about to reach their limit, and users who reached it long
/// ago, so that a wrong denial and an admission too many can both be seen at every moment.
package final class LoadUsers: Sendable {
    private let count = Atomic(0)
    private let known = Mutex<[String]>([])

    package init() {}

    package func next() -> String {
        let number = count.add(1, ordering: .relaxed).oldValue
        if number % 4 == 0 { return newUser() }
        return known.withLock { known in
            // Of each hundred checks fifty are the newest user's: some twice the limit.
            while known.count <= number / 100 { known.append(newUser()) }
            return number % 4 == 1 ? known.randomElement() ?? "" : known[number / 100]
        }
    }
}

import NIOCore
import TLSContexts
import TestSupport
import Testing

/// What connections share of TLS, whichever end they are.
@Suite("A TLS context")
struct TLSContextCacheTests {
    private let authority: CertificateAuthority
    private let cache = TLSContextCache()

    init() throws { authority = try CertificateAuthority() }

    private func end(_ certificate: CertificateAuthority.Certificate, isServer: Bool = true) -> TLSEnd {
        TLSEnd(
            role: isServer ? .server(protocols: ["h2"]) : .client(verifiesServer: true),
            authoritiesFile: authority.file,
            certificateFile: certificate.file, keyFile: certificate.keyFile)
    }

    @Test("is the same one until a file changes, and is made anew then", arguments: [true, false])
    func change(isServer: Bool) throws {
        let (folder, first, second) = (try TemporaryFolder(), try authority.issue("a"), try authority.issue("b"))
        var live = first
        (live.file, live.keyFile) = (folder.file("live.pem"), folder.file("live.key"))
        func place(_ issued: CertificateAuthority.Certificate) throws {
            try folder.write(readFile(issued.file), to: "live.pem")
            try folder.write(readFile(issued.keyFile), to: "live.key")
        }
        try place(first)
        let context = try cache.context(for: end(live, isServer: isServer))
        #expect(try cache.context(for: end(live, isServer: isServer)) === context)
        // Half replaced: the key is not that of the certificate.
        try folder.write(readFile(second.file), to: "live.pem")
        #expect(try cache.context(for: end(live, isServer: isServer)) === context)
        try place(second)
        let renewed = try cache.context(for: end(live, isServer: isServer))
        #expect(renewed !== context)
        #expect(try cache.context(for: end(live, isServer: isServer)) === renewed)
    }

    @Test("is read again once it is as old as the caller lets it be, and not before")
    func age() throws {
        let folder = try TemporaryFolder()
        let (first, second) = (try authority.issue("a"), try authority.issue("b"))
        let file = try folder.write(readFile(first.file) + readFile(first.keyFile), to: "live.pem")
        var live = end(first)
        (live.certificateFile, live.keyFile) = (file, file)
        let start = NIODeadline.now()
        func context(after seconds: Int64) throws -> ObjectIdentifier {
            ObjectIdentifier(
                try cache.context(for: live, readWithin: .seconds(10), now: start + .seconds(seconds)))
        }
        let before = try context(after: 0)
        try folder.write(readFile(second.file) + readFile(second.keyFile), to: "live.pem")
        #expect(try context(after: 9) == before)
        #expect(try context(after: 10) != before)
    }

    @Test("is never that of other files or of the other role, which a copy of the options may name")
    func other() throws {
        let (first, second) = (try authority.issue("a"), try authority.issue("b"))
        let context = try cache.context(for: end(first), readWithin: .hours(1))
        #expect(try cache.context(for: end(second), readWithin: .hours(1)) !== context)
        #expect(try cache.context(for: end(second, isServer: false), readWithin: .hours(1)) !== context)
        var missing = end(first)
        missing.keyFile = "/nowhere"
        #expect(throws: TLSProblem.self) { try cache.context(for: missing, readWithin: .hours(1)) }
    }

    @Test("says which file cannot be used, and why")
    func problems() throws {
        let (one, other) = (try authority.issue("a"), try authority.issue("b"))
        func problem(_ isServer: Bool, _ change: (inout TLSEnd) -> Void) -> String? {
            var end = end(one, isServer: isServer)
            change(&end)
            do throws(TLSProblem) {
                _ = try TLSContextCache().context(for: end)
                return nil
            } catch {
                return "\(error.file): \(error.reason)"
            }
        }
        for isServer in [true, false] {
            #expect(problem(isServer) { _ in } == nil)
            #expect(
                problem(isServer) { $0.authoritiesFile = one.keyFile } == "authorities: it holds no PEM certificate")
            #expect(
                problem(isServer) { $0.certificateFile = one.keyFile } == "certificate: it holds no PEM certificate")
            #expect(
                problem(isServer) { $0.keyFile = one.file } == "key: it holds no PEM key that needs no passphrase")
            #expect(problem(isServer) { $0.keyFile = "/nowhere" } == "key: No such file or directory")
        }
        #expect(problem(true) { $0.keyFile = other.keyFile } == "key: it is not the key of the certificate")
        #expect(problem(false) { $0.keyFile = other.keyFile } == "key: it is not the key of the client certificate")
    }

    @Test("shows nothing of a key to who dumps what holds it")
    func secrecy() throws {
        _ = try cache.context(for: end(try authority.issue("a")))
        var text = ""
        dump(cache, to: &text)
        #expect(text.split(separator: "\n").count == 1, "\(text)")
    }
}

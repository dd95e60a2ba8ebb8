import Testing

@testable import DaemonConfiguration

/// The expected values are what systemd 252 makes of the same bytes, but for the last rows of `oneVariable`.
@Suite("The environment file")
struct EnvironmentFileTests {
    @Test(
        "gives a variable the value that systemd gives it",
        arguments: [
            ("A=1\n", "1"),
            ("A=1", "1"),
            ("  A = 1  \n", "1"),
            ("\n# c\n  ; d\nA=1\n", "1"),
            ("A=a # b\n", "a # b"),
            ("A=' a  '\n", " a  "),
            (#"A="a \"b\" \\ \$ \` \n""#, #"a "b" \ $ ` \n"#),
            ("A='a'b \"c\"\n", "ab \"c\""),
            ("A=\"a\" 'b'\n", "ab"),
            ("A=a\\\nb\n", "ab"),
            ("A=a \\\n  b  \n", "a   b"),
            ("A=\"a\\\nb\"\n", "ab"),
            ("A='a\nb'\n", "a\nb"),
            ("A=a\\ \n", "a "),
            ("A=a \\", "a "),
            ("A=a\\'b\n", "a'b"),
            ("A=a\"b\"\n", "a\"b\""),
            ("A=\n", ""),
            ("A=''\n", ""),
            ("A=$HOME\n", "$HOME"),
            ("A=a=b\n", "a=b"),
            ("A=\ta\t\r\n", "a"),
            ("A=\\\nB=2\n", "B=2"),
            ("# c \\ d\nA=1\n", "1"),
            ("# since systemd 254 no comment is continued \\\nA=1\n", "1"),
            ("\u{FEFF}A=1\n", "1"),
            ("A=a\\\r\nb\r\n", "ab"),
            ("A=\"a\\\r\nb\"\r\n", "ab"),
            ("A=a\\\rb\n", "ab"),
            ("A=\"a\r\nb\"\r\n", "a\r\nb"),
        ])
    func oneVariable(content: String, expected: String) throws {
        let file = try EnvironmentFile(parsing: Array(content.utf8))
        #expect(file.assignments.map(\.name) == ["A"])
        #expect(file.assignments.first?.value == expected)
        #expect(file.ignoredLines.isEmpty)
        #expect(file.unclosedQuoteLine == nil)
    }

    @Test("keeps the order and the line of each assignment")
    func lines() throws {
        let file = try EnvironmentFile(parsing: Array("A=1\r\nB='x\ny'\r\n\nA=2".utf8))
        #expect(
            file.assignments == [
                .init(name: "A", value: "1", line: 1), .init(name: "B", value: "x\ny", line: 2),
                .init(name: "A", value: "2", line: 5),
            ])
    }

    @Test(
        "ignores with a remark what is no assignment",
        arguments: ["export A=1", "A", "=1", "1A=1", "A B=1", "Ä=1", "\u{FEFF}A=1", "A-B=1"])
    func ignored(line: String) throws {
        for content in ["B=1\n\(line)\nC=2\n", "B=1\n\(line)"] {
            let file = try EnvironmentFile(parsing: Array(content.utf8))
            #expect(file.ignoredLines == [2])
            #expect(file.assignments.allSatisfy { ["B", "C"].contains($0.name) })
        }
    }

    @Test("remarks a quote that swallows the rest of the file")
    func unclosedQuote() throws {
        let file = try EnvironmentFile(parsing: Array("A=1\nB='open\nC=2\n".utf8))
        #expect(file.unclosedQuoteLine == 2)
        #expect(file.assignments.last == .init(name: "B", value: "open\nC=2\n", line: 2))
    }

    @Test("is refused when it is no text")
    func notText() {
        #expect(throws: EnvironmentFile.Problem.notText(line: 2)) {
            try EnvironmentFile(parsing: [UInt8]("A=1\nB=".utf8) + [0xFF, 0x0A])
        }
        #expect(throws: EnvironmentFile.Problem.notText(line: 2)) {
            try EnvironmentFile(parsing: Array("A=1\nB=x\0y".utf8))
        }
    }
}

import Foundation
import TestSupport
import Testing

/// The Debian package where nothing runs, as where an image is built.
@Suite("The Debian package", .serialized, .needsPackages, .needs("debian"), .needsNamespaces)
struct DebianTests {
    private static let settings = "/etc/llm-rate-limit/llm-rate-limit.env"

    @Test("lintian has no error, no warning and nothing pedantic against it")
    func lintian() throws {
        let said = try Command(
            "lintian", ["--pedantic", "--fail-on", "error,warning,pedantic", "--allow-root", Packages.file(".deb")])
        #expect(said.code == 0)
        #expect(said.lines.filter { $0.contains(/^[EWP]:/) } == [])
    }

    @Test("Installing it makes the user and the group, gives each file its owner and mode, and enables the units")
    func installed() throws {
        let machine = try Machine(booted: false)
        try machine.install()
        let user = try machine.shell("getent passwd llm-rate-limit").split(
            separator: ":", omittingEmptySubsequences: false)
        #expect(user.count == 7 && user[5] == "/" && user[6] == "/usr/sbin/nologin", "\(user)")
        #expect(try machine.shell("id --groups --name llm-rate-limit") == "llm-rate-limit")
        let modes = try machine.shell(
            """
            cd / && stat --format='%n %U:%G %a' etc/llm-rate-limit .\(Self.settings) usr/bin/llm-rate-limit \
            lib/systemd/system/llm-rate-limit.service lib/systemd/system/llm-rate-limit.socket
            """)
        #expect(
            modes == """
                etc/llm-rate-limit root:root 755
                .\(Self.settings) root:llm-rate-limit 640
                usr/bin/llm-rate-limit root:root 755
                lib/systemd/system/llm-rate-limit.service root:root 644
                lib/systemd/system/llm-rate-limit.socket root:root 644
                """)
        for unit in ["llm-rate-limit.service", "llm-rate-limit.socket"] {
            #expect(try machine.run("systemctl", "is-enabled", unit).output == "enabled\n", "\(unit)")
        }
        // Nothing was started: this is no running system.
        #expect(try !machine.has("/run/llm-rate-limit"))
    }

    @Test(
        "An upgrade keeps settings that were changed, and so do the way back and removing it; purging leaves the user alone"
    )
    func upgradedAndPurged() throws {
        let machine = try Machine(booted: false)
        try machine.install()
        try machine.shell("echo LLM_RATE_LIMIT_REQUESTS=7 >>\(Self.settings) && chmod 0600 \(Self.settings)")
        let changed = try machine.shell("cat \(Self.settings)")
        try machine.install("next")
        let version = "dpkg-query --show --showformat='${Version} ${Status}' llm-rate-limit"
        #expect(try machine.shell(version).hasSuffix("-2 install ok installed"))
        #expect(try machine.shell("cat \(Self.settings)") == changed)
        #expect(try machine.shell("stat --format=%G:%a \(Self.settings)") == "llm-rate-limit:640")

        // And back, as the page Install says.
        let older = "apt-get install --yes --allow-downgrades /packages/out/*.deb"
        try machine.shell("DEBIAN_FRONTEND=noninteractive \(older)")
        #expect(try machine.shell(version).hasSuffix("-1 install ok installed"))
        #expect(try machine.shell("cat \(Self.settings)") == changed)

        try machine.shell("dpkg --remove llm-rate-limit")
        #expect(try machine.shell("cat \(Self.settings)") == changed)
        #expect(try !machine.has("/usr/bin/llm-rate-limit"))
        try machine.shell("dpkg --purge llm-rate-limit")
        let left = "find / -xdev -path /proc -prune -o -path /sys -prune -o -name '*llm-rate-limit*' -print"
        #expect(try machine.shell(left) == "")
        #expect(try machine.run("getent", "passwd", "llm-rate-limit").code == 0)
    }

    @Test("Settings whose owner an administrator has overridden stay as they are")
    func overridden() throws {
        let machine = try Machine(booted: false)
        try machine.install()
        try machine.shell("dpkg-statoverride --update --add root root 0600 \(Self.settings)")
        try machine.install("next")
        #expect(try machine.shell("stat --format=%G:%a \(Self.settings)") == "root:600")
    }

    @Test("systemd's own check finds nothing in the units, and gives them an exposure of 1.2 at most")
    func units() throws {
        let machine = try Machine(booted: false)
        try machine.install()
        // Its manual is among what is looked for.
        let verified = try machine.run("systemd-analyze", "verify", "llm-rate-limit.service", "llm-rate-limit.socket")
        #expect(verified.code == 0 && verified.output == "" && verified.errors == "")
        let unit = "/lib/systemd/system/llm-rate-limit.service"
        let security = try machine.run("systemd-analyze", "security", "--offline=true", "--threshold=12", unit)
        print(security.lines.last ?? "")
        #expect(security.code == 0 && security.output.contains("Overall exposure level for llm-rate-limit.service: "))
    }

    @Test("bash, zsh and fish complete a command's beginning, by the files where each of them looks")
    func completions() throws {
        let machine = try Machine(booted: false)
        try machine.install()
        let bash = """
            source /usr/share/bash-completion/bash_completion; _completion_loader llm-rate-limit
            COMP_WORDS=(llm-rate-limit expl) COMP_CWORD=1 COMP_LINE='llm-rate-limit expl' COMP_POINT=19
            "$(complete -p llm-rate-limit | sed 's/.*-F \\([^ ]*\\).*/\\1/')" llm-rate-limit expl llm-rate-limit
            echo "${COMPREPLY[*]}"
            """
        #expect(try machine.run("bash", "-c", bash).succeeded().trimmed == "explain")
        let fish = try machine.run("fish", "--command", "complete --do-complete 'llm-rate-limit expl'").succeeded()
        #expect(fish.hasPrefix("explain"), "\(fish)")
        // A terminal of zsh's own, in which the tabulator is pressed.
        let zsh = """
            zmodload zsh/zpty; zpty shell zsh -f -i
            zpty -w shell "PS1='> '; autoload -U compinit; compinit -u -D; echo re''ady"
            zpty -r -m shell line '*ready*'
            zpty -w -n shell $'llm-rate-limit expl\\t'; zpty -r -m shell line '*explain*' && echo completed
            """
        #expect(try machine.run("timeout", "60", "zsh", "-f", "-c", zsh).succeeded().trimmed == "completed")
    }
}

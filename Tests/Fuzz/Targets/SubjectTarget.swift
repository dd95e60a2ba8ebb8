import RateLimitCore
import RedisClient
import TestSupport

@testable import RateLimitService

/// Two texts, of which the first byte says where the second begins: what is read of them, what keys and messages they
/// become, and that no two subjects share any.
func fuzzSubject(_ bytes: UnsafeRawBufferPointer) throws(FuzzFinding) {
    let (head, rest) = bytes.headAndRest
    let place = min(Int(head), rest.count)
    var owners: [WindowOwner] = [.global]
    for part in [rest.prefix(place), rest.dropFirst(place)] {
        let text = Array(part)
        let isText = 1...256 ~= text.count && String(validating: text, as: UTF8.self) != nil
        let subject = text.withUnsafeBytes { SubjectID($0) }
        try hold((subject != nil) == isText, "read \(String(describing: subject)) from \(text)")
        guard let subject else { continue }
        let read = subject.withText { Array($0) }
        let plain = subject.isUUID ? Array(String(decoding: text, as: UTF8.self).lowercased().utf8) : text
        try hold(read == plain, "kept \(read) of \(text)")
        try hold(SubjectID(encoded: subject.encoded) == subject, "\(subject.encoded) is not read back")
        owners += [.user(subject), .group(subject)]
    }
    let texts = [rest.prefix(place), rest.dropFirst(place)].map { Array($0) }
    try fuzzValues(texts, owners)
    try fuzzDescriptors(texts, owners)
    let others = SubjectKeys.others(prefix: "p")
    for (index, owner) in owners.enumerated() {
        let key = owner.key(prefix: "p")
        try hold(key.utf8.count <= 2 + 6 + 128, "a key of \(key.utf8.count) bytes")
        try hold(key.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != 0x7b && $0 != 0x7d }, "the key \(key)")
        try hold(!others.contains(key), "the key \(key) is another one's")
        try hold(WindowOwner(name: owner.name) == owner, "\(owner.name) is not read back")
        let isHashed = key.contains("~")
        try hold(isHashed || WindowOwner(name: key.dropFirst(2)) == owner, "the key \(key) is not read back")
        try holdSlotsAndMessages(owner, key)
        for other in owners[..<index] {
            try hold((other == owner) == (other.key(prefix: "p") == key), "\(other) and \(owner) have the key \(key)")
            try hold((other == owner) == (other.name == owner.name), "\(other) and \(owner) are called \(owner.name)")
        }
    }
}

/// The texts as values of a call, and as names of its labels: no two windows share a key, each is read back, and each is
/// in its owner's slot.
private func fuzzValues(_ texts: [[UInt8]], _ owners: [WindowOwner]) throws(FuzzFinding) {
    let texts = texts.compactMap { text in
        1...CallAttributes.maximumValueLength ~= text.count ? String(validating: text, as: UTF8.self) : nil
    }
    guard let first = texts.first, let last = texts.last else { return }
    var labels = ["s": last]
    for name in texts where CallAttributes.nameLengths.contains(name.utf8.count) { labels[name] = first }
    let call = CallAttributes(model: first, provider: last, labels: labels)
    let names: [[CallValue]] =
        [[.model], [.provider], [.model, .provider]]
        + call.labels.keys.flatMap { [[.label($0)], [.model, .label($0)]] }
    let plain = Set(owners.map { $0.key(prefix: "p") }).union(SubjectKeys.others(prefix: "p"))
    var tuples: [String: [[UInt8]]] = [:]
    for owner in owners {
        for names in names {
            guard let values = WindowValues(names, of: call, group: nil) else {
                throw FuzzFinding(description: "\(names) are missing in \(call)")
            }
            let key = owner.key(prefix: "p", of: values)
            let said = names.map { Array((call.value(of: $0) ?? "").utf8) }
            let tuple = [Array(owner.name.utf8)] + names.map { Array($0.text.utf8) } + said
            try hold((tuples[key] ?? tuple) == tuple, "two windows have the key \(key)")
            tuples[key] = tuple
            try hold(!plain.contains(key), "the key \(key) is another one's")
            try hold(values.text.utf8.count <= WindowValues.longest, "\(values.text.utf8.count) bytes of values")
            try holdReadBack(key, owner, said)
        }
    }
}

/// The texts as domains, keys and values of descriptors: no two windows share a key, nor one with any other.
private func fuzzDescriptors(_ texts: [[UInt8]], _ owners: [WindowOwner]) throws(FuzzFinding) {
    let texts = texts.compactMap { String(validating: $0, as: UTF8.self) }
    guard let first = texts.first, let last = texts.last, texts.allSatisfy({ !$0.isEmpty }) else { return }
    let entries = [
        [DescriptorEntry(first, last)], [DescriptorEntry(last, first)], [DescriptorEntry("k", first)],
        [DescriptorEntry("k", first), DescriptorEntry("k", last)],
        [DescriptorEntry(first, ""), DescriptorEntry(last, "")],
    ]
    let quotas = [nil, DescriptorQuota(1, per: .hour), DescriptorQuota(1, per: .minute, times: 60)]
    let plain = Set(owners.map { $0.key(prefix: "p") }).union(SubjectKeys.others(prefix: "p"))
    var windows: [String: [[UInt8]]] = [:]
    for domain in [first, last] {
        for entries in entries {
            for (place, quota) in quotas.enumerated() {
                let key = "p:" + (try descriptorKey(entries, in: domain, quota))
                let window =
                    [[UInt8(place)], Array(domain.utf8)]
                    + entries.flatMap { [Array($0.key.utf8), Array($0.value.utf8)] }
                try hold((windows[key] ?? window) == window, "two windows have the key \(key)")
                windows[key] = window
                try hold(key.utf8.count <= 2 + DescriptorKey.longest, "a key of \(key.utf8.count) bytes")
                try hold(key.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != 0x7b && $0 != 0x7d }, "the key \(key)")
                try hold(
                    !plain.contains(key) && WindowOwner(name: key.dropFirst(2)) == nil,
                    "the key \(key) is another one's")
                try hold(ValueKey(key, prefix: "p") == nil, "\(key) is read as a window of values")
            }
        }
    }
}

/// The key of a window that entries have under a limit of as many levels.
private func descriptorKey(
    _ entries: [DescriptorEntry], in domain: String, _ quota: DescriptorQuota?
) throws(FuzzFinding) -> String {
    var rules: [DescriptorRule] = []
    for entry in entries.reversed() {
        let limit = DescriptorRule.Limit(quota: DescriptorQuota(1, per: .second))
        rules = [DescriptorRule(entry.key, limit: rules.isEmpty ? limit : nil, rules: rules)]
    }
    let matches = DescriptorRules([DescriptorDomain(domain, rules)])
        .matches([Descriptor(entries, quota: quota)], in: domain)
    guard let key = matches.first?.key else { throw FuzzFinding(description: "\(entries) meet nothing in \(domain)") }
    return key.text
}

private func holdReadBack(_ key: String, _ owner: WindowOwner, _ said: [[UInt8]]) throws(FuzzFinding) {
    guard let read = ValueKey(key, prefix: "p") else { throw FuzzFinding(description: "\(key) is not read back") }
    let isOwners = read.owner == (owner == .global ? nil : owner.key(prefix: "p"))
    try hold(isOwners && read.pairs.count == said.count, "\(key) is read back as \(read)")
    for (pair, bytes) in zip(read.pairs, said) {
        if case .bytes(let read) = pair.value { try hold(read == bytes, "\(key) is read back as \(read)") }
    }
    guard owner != .global else { return }
    try hold(
        HashSlot(key: key.utf8) == HashSlot(key: owner.key(prefix: "p").utf8), "\(key) is not in its owner's slot")
}

private func holdSlotsAndMessages(_ owner: WindowOwner, _ key: String) throws(FuzzFinding) {
    let slot = HashSlot(key: key.utf8)
    let reset = Invalidation.reset(owner)
    let denials = Invalidation.denials(owner)
    for message in [reset, denials] {
        try hold(Invalidation(message.text) == message, "the message \(message.text) is not read back")
    }
    let subject: BudgetSubject
    switch owner {
    case .user(let user):
        try hold(UserSlots(keyPrefix: "p").slot(of: user) == slot, "\(user) is in two slots")
        subject = .user(user)
    case .group(let group): subject = .group(group)
    case .global: return
    }
    let keys = BudgetKeys(prefix: "p")
    for kept in [keys.budget(of: subject), keys.groups(of: subject), keys.granted([1], to: subject)] {
        try hold(HashSlot(key: kept.utf8) == slot, "\(kept) is not in the slot of \(key)")
    }
    for change in [ChangeNotice.Change.budget(subject), .denials(.reset(owner)), .denials(.denials(owner))] {
        let notice = ChangeNotice(change, versionBefore: "1", version: "2")
        try hold(ChangeNotice(change.text + " 1 2") == notice, "no notice of \(owner)")
    }
}

/// Every other key of ours, by the texts that are not a subject's.
enum SubjectKeys {
    static func others(prefix: String) -> Set<String> {
        let heartbeat = HeartbeatKeys(prefix: prefix)
        let budgets = BudgetKeys(prefix: prefix)
        return Set([
            heartbeat.latest, "\(prefix):heartbeat", budgets.version, budgets.audit, budgets.channel,
            EventStream.key(prefix: prefix),
        ])
        .union(heartbeat.tried).union(heartbeat.written)
    }
}

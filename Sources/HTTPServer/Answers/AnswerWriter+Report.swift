import RateLimitCore
import RateLimitService

// What the answer to a check or a reservation tells of candidates, and of what was only tried.
extension AnswerWriter {
    /// Writes the members of a report.
    func write(_ report: CallReport, isVerbose: Bool) {
        if let candidate = report.candidate {
            text.member("candidate")
            write(candidate)
            text.write("}")
        }
        if isVerbose, !report.passedOver.isEmpty { write(report.passedOver) }
        guard report.isDryRun else { return }
        if let unmet = report.unmet { write(unmet) }
        text.member("dry_run")
        text.write(boolean: true)
    }

    /// Writes a candidate's own members, and leaves the object open.
    private func write(_ candidate: CallCandidate) {
        text.write("{\"index\":")
        text.write(decimal: candidate.index)
        if let model = candidate.model {
            text.member("model")
            text.write(json: model)
        }
        if let provider = candidate.provider {
            text.member("provider")
            text.write(json: provider)
        }
    }

    private func write(_ passedOver: [PassedOverCandidate]) {
        text.member("passed_over")
        for (place, passed) in passedOver.enumerated() {
            text.write(place == 0 ? "[" : ",")
            write(passed.candidate)
            let outcome = passed.outcome
            text.member("limit_name")
            if let name = name(in: outcome) {
                text.write("\"")
                text.write(text: name)
                text.write("\"")
            } else {
                text.write("null")
            }
            if case .atCapacity = outcome.verdict { text.write(",\"at_capacity\":true") }
            let wait = outcome.verdict.retryAfterSeconds
            text.member("retry_after")
            text.write(decimalOrNull: wait)
            text.member("reason")
            text.write("\"")
            writeMessage(outcome, wait: wait)
            text.write("\"}")
        }
        text.write("]")
    }

    private func write(_ unmet: [UnmetLimit]) {
        text.member("not_applied")
        text.write("[")
        for (place, limit) in unmet.enumerated() {
            text.write(place == 0 ? "{\"limit_name\":\"" : ",{\"limit_name\":\"")
            text.write(text: limit.limit.text)
            text.write("\",\"missed\":")
            text.write(json: limit.missed)
            text.write(",\"reason\":")
            text.write(json: limit.text)
            text.write("}")
        }
        text.write("]")
    }
}

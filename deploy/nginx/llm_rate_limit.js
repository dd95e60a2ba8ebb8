// Limits of llm-rate-limit in nginx, with njs (tried with 0.7.9; Debian's libnginx-mod-http-js).
//
// check       js_content: lets a request through to @passed, or answers it with 429
// reserve     js_content: the same to @model, and holds what the call may take of tokens and money
// begin       js_header_filter, watch: js_body_filter: read from the model's answer what the call took
// ending      js_set, settlement: js_set: what the daemon is told once the answer has ended
//
// The daemon is asked by subrequests, to locations under /_rate_limit/: their proxy_pass has the deadlines.

// Seconds after which what a worker that died held is free again. Above what a call may last.
const LEASE_SECONDS = 600;
// What is kept of one answer, at most: the line of a stream, or an answer that is no stream.
const KEPT_BYTES = 1048576;
// The longest model that the daemon is asked with: what it refuses without reading the call would be let through.
const MODEL_LENGTH = 1024;
// What the client gets of the daemon's headers, where they are there.
const HEADERS = [
    'RateLimit', 'RateLimit-Policy', 'X-RateLimit-Limit', 'X-RateLimit-Remaining', 'X-RateLimit-Reset', 'Retry-After',
    'X-Rate-Limit-Over',
];

// Decisions ----------------------------------------------------------------------------------------------------------

// The groups of a part of an IPv6 address; an IPv4 address at its end is two of them.
function groups(part) {
    const found = [];
    part.split(':').filter((group) => group != '').forEach((group) => {
        const bytes = group.split('.').map(Number);
        if (bytes.length == 4) found.push(bytes[0] * 256 + bytes[1], bytes[2] * 256 + bytes[3]);
        else found.push(parseInt(group, 16));
    });
    return found;
}

// The user that is an address, in the form of /v1/auth: of IPv6 the first 64 bits.
function userAt(address) {
    // A Unix socket has none; the daemon refuses a user without a text.
    if (!/^[0-9a-fA-F.:]+$/.test(address)) return '';
    if (!address.includes(':')) return 'address:' + address;
    const halves = address.split('::');
    const head = groups(halves[0]), tail = groups(halves[1] || '');
    const all = [];
    for (let place = 0; place < 8; place += 1) {
        all.push(head[place] === undefined ? tail[place - 8 + tail.length] || 0 : head[place]);
    }
    if (all.slice(0, 6).join(':') == '0:0:0:0:0:65535') {
        return 'address:' + [all[6] >> 8, all[6] & 255, all[7] >> 8, all[7] & 255].join('.');
    }
    let written = 4;
    while (written > 0 && all[written - 1] == 0) written -= 1;
    return 'address:' + all.slice(0, written).map((group) => group.toString(16)).join(':') + '::/64';
}

// Who is charged; nothing where that cannot be said, and the client has been answered.
function charged(r) {
    const user = r.variables.rate_limit_user;
    if (!user) return userAt(r.remoteAddress);
    if (/^(address|api-key):/.test(user)) {
        refuse(r, 400, 'invalid_user', 'A user begins with address: or api-key:, which are not for users.');
        return undefined;
    }
    // Of two headers the first is in the variable, and nobody can tell which is the proxy's.
    if (r.rawHeadersIn.filter((header) => header[0].toLowerCase() == 'x-user-id').length > 1) {
        refuse(r, 400, 'invalid_user', 'The header X-User-Id stands more than once.');
        return undefined;
    }
    return user;
}

function parse(text) {
    try {
        const value = JSON.parse(text);
        return typeof value == 'object' && value !== null ? value : {};
    } catch (e) {
        return {};
    }
}

function refuse(r, status, kind, message) {
    r.headersOut['Content-Type'] = 'application/json';
    r.return(status, JSON.stringify({ error: { type: kind, code: kind, message: message } }) + '\n');
}

// Whether a request goes on under the daemon's answer. Where it does not, the client has been answered.
function admit(r, answer, body) {
    HEADERS.forEach((name) => {
        if (answer.headersOut[name]) r.headersOut[name] = answer.headersOut[name];
    });
    if (answer.status == 200) {
        if (body.degraded === true) r.headersOut['X-Rate-Limit-Degraded'] = body.reason;
        return true;
    }
    if (answer.status == 429 || body.at_capacity === true) {
        refuse(r, 429, 'rate_limit_exceeded', body.message);
    } else if (answer.status == 503) {
        // The failure mode is closed, and Redis is away.
        refuse(r, 503, 'rate_limit_unavailable', body.detail);
    } else if (answer.status == 400) {
        // A user whom the daemon cannot limit does not pass unlimited.
        refuse(r, 400, 'invalid_user', body.detail);
    } else {
        // 502 and 504 are nginx's own: nobody answered, or not in time, and it has logged why.
        if (answer.status != 502 && answer.status != 504) {
            r.error('llm-rate-limit does not decide, the request is let through: status ' + answer.status);
        }
        r.headersOut['X-Rate-Limit-Degraded'] = 'daemon_unreachable';
        return true;
    }
    return false;
}

async function check(r) {
    const user = charged(r);
    if (user === undefined) return;
    const call = { user: user };
    const answer = await r.subrequest('/_rate_limit/check', { method: 'POST', body: JSON.stringify(call) });
    if (admit(r, answer, parse(answer.responseText))) r.internalRedirect('@passed');
}

async function reserve(r) {
    const user = charged(r);
    if (user === undefined) return;
    const request = r.requestText || '';
    const call = { user: user, ttl: LEASE_SECONDS };
    const model = parse(request).model;
    if (typeof model == 'string' && model.length > MODEL_LENGTH) {
        refuse(r, 400, 'invalid_model', "The model's name is above " + MODEL_LENGTH + ' characters.');
        return;
    }
    if (typeof model == 'string') call.model = model;
    const answer = await r.subrequest('/_rate_limit/reserve', { method: 'POST', body: JSON.stringify(call) });
    const body = parse(answer.responseText);
    if (!admit(r, answer, body)) return;
    // Variables go on to @model; what else this script knows does not.
    if (answer.status == 200 && body.lease) {
        const estimate = body.estimate || {};
        // Nothing is known yet of this user's calls or this model's: about four bytes are a token.
        if (estimate.source == 'none') estimate.input_tokens = Math.ceil(request.length / 4);
        r.variables.rate_limit_lease = body.lease;
        r.variables.rate_limit_owner = user;
        r.variables.rate_limit_estimate = JSON.stringify(estimate);
    }
    r.internalRedirect('@model');
}

// What a call took ---------------------------------------------------------------------------------------------------

// The answer that is being read.
let reader = null;

function begin(r) {
    reader = {
        isStream: String(r.headersOut['Content-Type']).includes('text/event-stream'),
        parts: [], bytes: 0, rest: '', skips: false, events: 0, usage: null, isWhole: false,
    };
    r.variables.rate_limit_status = String(r.status);
}

// Takes the usage out of an answer or of a stream's event: OpenAI's chat and responses, Anthropic's, Gemini's.
// Anthropic tells the input when a stream begins and the output when it ends, so members are put together.
function takeUsage(text) {
    const object = parse(text);
    const holder = [object.response, object.message].find((part) => typeof part == 'object' && part) || object;
    const usage = holder.usage || holder.usageMetadata;
    if (typeof usage != 'object' || !usage) return;
    reader.usage = Object.assign(reader.usage || {}, usage);
    // Of the events of the responses API only those that end it have a usage.
    if (holder === object.response) reader.isWhole = true;
}

function takeLine(line) {
    if (line.startsWith('data:')) {
        reader.events += 1;
        if (/^data: *\[DONE\]/.test(line)) {
            reader.isWhole = true;
        } else if (/"usage[A-Za-z]*" *: *\{/.test(line)) {
            takeUsage(line.slice(5));
        }
    } else if (/^event: *message_stop/.test(line)) {
        reader.isWhole = true;
    }
}

function takeStream(text) {
    const lines = (reader.rest + text).split('\n');
    reader.rest = lines.pop();
    lines.forEach((line) => {
        if (!reader.skips) takeLine(line);
        reader.skips = false;
    });
    if (reader.rest.length > KEPT_BYTES) {
        reader.rest = '';
        reader.skips = true;
    }
}

// The client gets the bytes as they are, whatever is read in them.
function watch(r, data, flags) {
    r.sendBuffer(data, flags);
    if (!reader || !r.variables.rate_limit_lease) return;
    if (data.length > 0 && reader.isStream) {
        takeStream(data.toString());
    } else if (data.length > 0) {
        reader.bytes += data.length;
        if (reader.bytes <= KEPT_BYTES) reader.parts.push(Buffer.from(data));
    }
    if (flags.last) {
        reader.isWhole = true;
        if (reader.isStream) takeLine(reader.rest);
        else if (reader.bytes <= KEPT_BYTES) takeUsage(Buffer.concat(reader.parts).toString());
    }
    r.variables.rate_limit_events = String(reader.events);
    if (reader.isWhole && reader.usage) r.variables.rate_limit_usage = JSON.stringify(reader.usage);
}

// The model refused the call, or was not reached. A client that went away, and a model that was too slow, cost.
function ending(r) {
    const status = Number(r.variables.rate_limit_status || 0);
    return status >= 400 && status != 499 && status != 504 ? 'release' : 'settle';
}

// What is charged for a call that does not tell what it took, such as a stream that the client cut, is the estimate, and
// a token at least for each event that was passed on. Were it less, cutting streams would be free.
function settlement(r) {
    const call = { lease: r.variables.rate_limit_lease, user: r.variables.rate_limit_owner };
    if (r.variables.rate_limit_usage) {
        call.usage = parse(r.variables.rate_limit_usage);
    } else if (ending(r) == 'settle') {
        const estimate = parse(r.variables.rate_limit_estimate);
        call.input_tokens = estimate.input_tokens || 0;
        call.output_tokens = Math.max(estimate.output_tokens || 0, Number(r.variables.rate_limit_events || 0));
        call.cache_read_input_tokens = estimate.cache_read_input_tokens;
        call.cache_write_input_tokens = estimate.cache_write_input_tokens;
    }
    return JSON.stringify(call);
}

export default { check, reserve, begin, watch, ending, settlement };

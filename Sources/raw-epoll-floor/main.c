// The floor of the benchmark: what the daemon's work costs with no framework, no time-outs, no metrics, no failure
// modes and no safety margins. One thread, one epoll, one Redis connection.
//
//   raw-epoll-floor --socket PATH --redis PATH --script PATH [--limit N] [--window MS] [--batch N]
//                   [--events N]
//
// It answers POST /v1/check with the same headers and body as the daemon, and it batches as the daemon does: all checks
// that one turn of the loop has read go to Redis together, up to --batch of them (default 32) in one EVALSHA.
//
//   a turn:  epoll_wait -> each readable client: recv, parse, append its checks to the open batch
//                       -> Redis readable: recv, parse, append each answer to its client's buffer, one send a client
//            the end of the turn closes the batch and sends all its commands by one send
//
// A turn takes --events events at most (default 16). Were it to take all, then load, program and Redis would pass the
// same convoy of checks on to each other and two of them would always wait: measured at 64 clients, 105,000 checks/s
// with 256 events a turn and 170,000 with 16.
//
// Checks wait in a ring in the order in which Redis was asked, so an answer needs no other label. Whatever goes wrong
// ends the process with a message: it is a measuring instrument, not a server.

#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    MAX_CLIENTS = 1024,
    CLIENT_IN = 16384,         // received bytes of a client that are not parsed yet
    CLIENT_OUT = 65536,        // answers of a client that are not sent yet
    REDIS_IN = 262144,
    REDIS_OUT = 4194304,
    RING = 65536,              // checks on their way; a power of two
    MAX_BATCH = 1024,
    UUID_LENGTH = 36,
    MAX_EVENTS = 256,
};

struct client {
    int fd;                    // -1 while the slot is free
    uint32_t generation;       // tells a check of an earlier client in this slot from one of the present
    bool dirty;                // has answers to send in this turn
    size_t in_length, out_length;
    char in[CLIENT_IN], out[CLIENT_OUT];
};

struct check {
    uint32_t slot, generation;
    int64_t cost;
    char user[UUID_LENGTH];
};

static struct client clients[MAX_CLIENTS];
static uint32_t dirty[MAX_CLIENTS];
static size_t dirty_count;

// Checks by number: [sent, queued) are in the open batch, [answered, sent) wait for Redis.
static struct check ring[RING];
static uint64_t answered, sent, queued;

static char redis_in[REDIS_IN], redis_out[REDIS_OUT];
static size_t redis_in_length, redis_out_length;
static int redis_fd, epoll_fd;

static char sha[41];
static long long limit = 20, window_ms = 3600000, batch_cap = 32, event_cap = 16;
static char policy[128];       // the RateLimit-Policy header, which never changes
static unsigned char plan[55]; // what every check asks, as decide.lua says it: one sliding window of the limit `requests`

static void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("raw-epoll-floor: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

// ---- text ----------------------------------------------------------------------------------------------------------

static char *put(char *at, const char *text, size_t length) {
    memcpy(at, text, length);
    return at + length;
}

#define PUT(at, literal) put((at), (literal), sizeof(literal) - 1)

static char *put_number(char *at, int64_t value) {
    char digits[24];
    int count = 0;
    uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
    do {
        digits[count++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0) *at++ = '-';
    while (count > 0) *at++ = digits[--count];
    return at;
}

static char *put_bulk_start(char *at, int64_t length) {
    *at++ = '$';
    at = put_number(at, length);
    return PUT(at, "\r\n");
}

static char *put_bulk_number(char *at, int64_t value) {
    char digits[24];
    size_t length = (size_t)(put_number(digits, value) - digits);
    at = put_bulk_start(at, (int64_t)length);
    at = put(at, digits, length);
    return PUT(at, "\r\n");
}

static char *put_little_endian(char *at, int64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) *at++ = (char)(value >> (8 * i) & 255);
    return at;
}

static int64_t read_little_endian(const char *at, int bytes) {
    int64_t value = 0;
    while (bytes-- > 0) value = value << 8 | (unsigned char)at[bytes];
    return value;
}

static void make_plan(void) {
    char *at = (char *)plan;
    at = put_little_endian(at, 0x01000101, 4);  // a check of one subject, without an id, with one amount
    at = put_little_endian(at, 0, 4);
    at = put_little_endian(at, 3600000, 4);  // leases that it finds lapsed are remembered for an hour
    at = put_little_endian(at, 1, 4);  // one term, of a subject whose values have no bound
    at = put_little_endian(at, 0x52818a05, 4);
    at = put_little_endian(at, 0, 2);
    at = put_little_endian(at, window_ms, 5);
    at = put_little_endian(at, 0, 8);
    at = put_little_endian(at, 0, 7);
    at = put_little_endian(at, limit, 6);
    at = put_little_endian(at, 1, 1);
    put_little_endian(at, 0, 6);
}

static int64_t read_number(const char *at) {
    bool negative = *at == '-';
    int64_t value = 0;
    if (negative) at++;
    while (*at >= '0' && *at <= '9') value = value * 10 + (*at++ - '0');
    return negative ? -value : value;
}

// ---- to Redis ------------------------------------------------------------------------------------------------------

// Writes the open batch as EVALSHA commands of at most batch_cap checks each, and sends them by one send.
static void send_batch(void) {
    char *at = redis_out + redis_out_length;
    while (sent < queued) {
        int64_t count = (int64_t)(queued - sent) < batch_cap ? (int64_t)(queued - sent) : batch_cap;
        if (redis_out + REDIS_OUT - at < 512 + count * 128) die("too many checks for the buffer to Redis");
        *at++ = '*';
        at = put_number(at, 6 + count);
        at = PUT(at, "\r\n$7\r\nEVALSHA\r\n$40\r\n");
        at = put(at, sha, 40);
        at = PUT(at, "\r\n");
        at = put_bulk_number(at, count);
        for (int64_t i = 0; i < count; i++) {
            at = PUT(at, "$45\r\nllm-rate:");
            at = put(at, ring[(sent + (uint64_t)i) % RING].user, UUID_LENGTH);
            at = PUT(at, "\r\n");
        }
        at = put_bulk_start(at, count);
        memset(at, 0, (size_t)count);
        at = PUT(at + count, "\r\n");
        at = put_bulk_start(at, 6 * count);
        for (int64_t i = 0; i < count; i++) at = put_little_endian(at, ring[(sent + (uint64_t)i) % RING].cost, 6);
        at = PUT(at, "\r\n$55\r\n");
        at = put(at, (const char *)plan, sizeof plan);
        at = PUT(at, "\r\n");
        sent += (uint64_t)count;
    }
    redis_out_length = (size_t)(at - redis_out);
    if (redis_out_length == 0) return;
    ssize_t written = send(redis_fd, redis_out, redis_out_length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (written < 0 && errno != EAGAIN) die("cannot send to Redis: %s", strerror(errno));
    if (written > 0) {
        redis_out_length -= (size_t)written;
        memmove(redis_out, redis_out + written, redis_out_length);
    }
}

// ---- clients -------------------------------------------------------------------------------------------------------

static void close_client(struct client *client) {
    close(client->fd);
    client->fd = -1;
    client->generation++;
}

// Reads one request at the front of the bytes. Returns its length, 0 while it is incomplete, -1 where it is no check.
static ssize_t parse_request(const char *bytes, size_t length, struct check *check) {
    const char *head_end = memmem(bytes, length, "\r\n\r\n", 4);
    if (head_end == NULL) return 0;
    if (memcmp(bytes, "POST /v1/check HTTP/1.1\r\n", 25) != 0) return -1;
    int64_t body_length = -1;
    for (const char *line = bytes + 25; line < head_end; line = (const char *)memchr(line, '\n', length) + 1) {
        if ((*line | 0x20) == 'c' && strncasecmp(line, "content-length:", 15) == 0) {
            line += 15;
            while (*line == ' ') line++;
            body_length = read_number(line);
        }
    }
    if (body_length < 0 || body_length > 1024) return -1;
    const char *body = head_end + 4;
    if ((size_t)(body - bytes) + (size_t)body_length > length) return 0;
    const char *user = memmem(body, (size_t)body_length, "\"user\":\"", 8);
    if (user == NULL || user + 8 + UUID_LENGTH >= body + body_length) return -1;
    for (int i = 0; i < UUID_LENGTH; i++) {
        char c = user[8 + i];
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? c != '-' : !((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f'))) return -1;
        check->user[i] = dash ? c : (char)(c | 0x20);
    }
    const char *cost = memmem(body, (size_t)body_length, "\"cost\":", 7);
    check->cost = cost == NULL ? 1 : read_number(cost + 7);
    if (check->cost < 1 || check->cost > 1000000) return -1;
    return body + body_length - bytes;
}

static void serve_client(uint32_t slot) {
    struct client *client = &clients[slot];
    ssize_t count = recv(client->fd, client->in + client->in_length, CLIENT_IN - client->in_length, 0);
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) {
        close_client(client);
        return;
    }
    size_t end = client->in_length + (size_t)count, offset = 0;
    while (offset < end) {
        if (queued - answered == RING) die("more than %d checks on their way", RING);
        struct check *check = &ring[queued % RING];
        ssize_t length = parse_request(client->in + offset, end - offset, check);
        if (length == 0) break;
        if (length < 0) {
            close_client(client);
            return;
        }
        check->slot = slot;
        check->generation = client->generation;
        queued++;
        offset += (size_t)length;
    }
    if (offset == 0 && end == CLIENT_IN) {
        close_client(client);
        return;
    }
    if (offset < end) memmove(client->in, client->in + offset, end - offset);
    client->in_length = end - offset;
}

static void accept_client(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    for (uint32_t slot = 0; slot < MAX_CLIENTS; slot++) {
        if (clients[slot].fd >= 0) continue;
        clients[slot].fd = fd;
        clients[slot].in_length = clients[slot].out_length = 0;
        clients[slot].dirty = false;
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = slot};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
        return;
    }
    close(fd);
}

static char *put_wait(char *at, int64_t seconds) {
    static const struct { int64_t length; const char *name; } units[] = {
        {86400, " day"}, {3600, " hour"}, {60, " minute"}, {1, " second"},
    };
    int shown = 0;
    for (int i = 0; i < 4 && shown < 2; i++) {
        int64_t count = seconds / units[i].length;
        seconds %= units[i].length;
        if (count == 0) continue;
        if (shown++ > 0) *at++ = ' ';
        at = put_number(at, count);
        at = put(at, units[i].name, strlen(units[i].name));
        if (count != 1) *at++ = 's';
    }
    return at;
}

// Appends the answer of a check to its client's buffer: the headers and the body of the daemon.
static void answer_client(const struct check *check, int64_t retry_ms, int64_t used, int64_t reset_ms) {
    struct client *client = &clients[check->slot];
    if (client->generation != check->generation) return;  // gone
    if (CLIENT_OUT - client->out_length < 1024) die("a client takes no answers");
    bool allowed = retry_ms == 0;
    int64_t remaining = used < limit ? limit - used : 0;
    int64_t retry = (retry_ms + 999) / 1000, reset = (reset_ms + 999) / 1000;
    char body[512], *end = body;
    end = allowed ? PUT(end, "{\"allowed\":true") : PUT(end, "{\"allowed\":false");
    end = PUT(end, ",\"limit_name\":\"requests\",\"limit\":");
    end = put_number(end, limit);
    end = PUT(end, ",\"remaining\":");
    end = put_number(end, remaining);
    end = PUT(end, ",\"retry_after\":");
    end = retry_ms < 0 ? PUT(end, "null") : put_number(end, retry);
    end = PUT(end, ",\"reset_after\":");
    end = put_number(end, reset);
    end = PUT(end, ",\"degraded\":false");
    if (retry_ms > 0) {
        end = PUT(end, ",\"message\":\"Try again in ");
        end = put_wait(end, retry);
        end = PUT(end, ".\"");
    }
    *end++ = '}';

    char *at = client->out + client->out_length;
    at = allowed ? PUT(at, "HTTP/1.1 200 OK\r\n") : PUT(at, "HTTP/1.1 429 Too Many Requests\r\n");
    at = PUT(at, "Content-Type: application/json\r\nContent-Length: ");
    at = put_number(at, end - body);
    at = put(at, policy, strlen(policy));
    at = PUT(at, "RateLimit: \"default\";r=");
    at = put_number(at, remaining);
    if (retry_ms > 0) {
        at = PUT(at, ";t=");
        at = put_number(at, retry);
        at = PUT(at, "\r\nRetry-After: ");
        at = put_number(at, retry);
    }
    at = PUT(at, "\r\n\r\n");
    at = put(at, body, (size_t)(end - body));
    client->out_length = (size_t)(at - client->out);
    if (!client->dirty) {
        client->dirty = true;
        dirty[dirty_count++] = check->slot;
    }
}

static void send_answers(void) {
    for (size_t i = 0; i < dirty_count; i++) {
        struct client *client = &clients[dirty[i]];
        client->dirty = false;
        if (client->fd < 0) continue;
        ssize_t written = send(client->fd, client->out, client->out_length, MSG_NOSIGNAL);
        if (written != (ssize_t)client->out_length) close_client(client);  // gone, or too slow for this instrument
        client->out_length = 0;
    }
    dirty_count = 0;
}

// ---- from Redis ----------------------------------------------------------------------------------------------------

// Takes every whole answer: an array of one text of 28 bytes for each check of the batch.
static void serve_redis(void) {
    ssize_t count = recv(redis_fd, redis_in + redis_in_length, REDIS_IN - redis_in_length - 1, MSG_DONTWAIT);
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) die("Redis has closed the connection");
    redis_in_length += (size_t)count;
    redis_in[redis_in_length] = 0;
    const char *at = redis_in, *end = redis_in + redis_in_length;
    while (at < end) {
        if (*at != '*' && memchr(at, '\n', (size_t)(end - at))) die("Redis answered %.80s", at);
        const char *next = memchr(at, '\n', (size_t)(end - at));
        if (next == NULL) break;
        int64_t elements = read_number(at + 1);
        const char *text = next + 1;
        if (end - text < 35 * elements) break;
        for (int64_t i = 0; i < elements; i++, text += 35) {
            if (memcmp(text, "$28\r\n", 5) != 0) die("Redis answered %.80s", text);
            // Status, deciding term, two waits; then what is used, milliseconds until the window is empty, and flags.
            int64_t retry = text[5] == 2 ? -1 : read_little_endian(text + 8, 6);
            answer_client(
                &ring[answered++ % RING], retry, read_little_endian(text + 20, 6), read_little_endian(text + 26, 6));
        }
        at = text;
    }
    redis_in_length = (size_t)(end - at);
    memmove(redis_in, at, redis_in_length);
    send_answers();
}

static struct sockaddr_un unix_address(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) die("the path is too long: %s", path);
    strcpy(address.sun_path, path);
    return address;
}

// Connects, loads the script and keeps its name. This part still waits; the loop below does not.
static void connect_redis(const char *path, const char *script_path) {
    static char script[131072], answer[256];
    FILE *file = fopen(script_path, "r");
    if (file == NULL) die("cannot read %s: %s", script_path, strerror(errno));
    size_t length = fread(script, 1, sizeof script, file);
    fclose(file);
    struct sockaddr_un address = unix_address(path);
    redis_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(redis_fd, (struct sockaddr *)&address, sizeof address) != 0) {
        die("cannot connect to %s: %s", path, strerror(errno));
    }
    dprintf(redis_fd, "*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n$%zu\r\n%.*s\r\n", length, (int)length, script);
    ssize_t count = recv(redis_fd, answer, sizeof answer - 1, 0);
    if (count < 47 || memcmp(answer, "$40\r\n", 5) != 0) die("cannot load the script: %s", answer);
    memcpy(sha, answer + 5, 40);
}

static int listen_at(const char *path) {
    struct sockaddr_un address = unix_address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 1024) != 0) {
        die("cannot listen at %s: %s", path, strerror(errno));
    }
    return fd;
}

static void run(int listener) {
    enum { LISTENER = MAX_CLIENTS, REDIS };
    struct epoll_event events[MAX_EVENTS];
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = LISTENER};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    event.data.u32 = REDIS;
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, redis_fd, &event);
    for (;;) {
        // With bytes that Redis did not take, the loop polls: rare enough not to deserve EPOLLOUT here.
        int count = epoll_wait(epoll_fd, events, (int)event_cap, redis_out_length > 0 ? 1 : -1);
        if (count < 0 && errno != EINTR) die("epoll: %s", strerror(errno));
        for (int i = 0; i < count; i++) {
            uint32_t source = events[i].data.u32;
            if (source == LISTENER) accept_client(listener);
            else if (source == REDIS) serve_redis();
            else if (clients[source].fd >= 0) serve_client(source);
        }
        send_batch();
    }
}

int main(int count, char **arguments) {
    const char *socket_path = NULL, *redis_path = NULL, *script_path = NULL;
    for (int i = 1; i + 1 < count; i += 2) {
        const char *name = arguments[i], *value = arguments[i + 1];
        if (strcmp(name, "--socket") == 0) socket_path = value;
        else if (strcmp(name, "--redis") == 0) redis_path = value;
        else if (strcmp(name, "--script") == 0) script_path = value;
        else if (strcmp(name, "--limit") == 0) limit = atoll(value);
        else if (strcmp(name, "--window") == 0) window_ms = atoll(value);
        else if (strcmp(name, "--batch") == 0) batch_cap = atoll(value);
        else if (strcmp(name, "--events") == 0) event_cap = atoll(value);
        else die("unknown flag %s", name);
    }
    if (!socket_path || !redis_path || !script_path || batch_cap < 1 || batch_cap > MAX_BATCH || limit < 1
        || event_cap < 1 || event_cap > MAX_EVENTS) {
        die("usage: --socket PATH --redis PATH --script PATH [--limit N] [--window MS] [--batch 1 to %d]"
            " [--events 1 to %d]", MAX_BATCH, MAX_EVENTS);
    }
    for (int slot = 0; slot < MAX_CLIENTS; slot++) clients[slot].fd = -1;
    snprintf(policy, sizeof policy, "\r\nRateLimit-Policy: \"default\";q=%lld;w=%lld\r\n", limit, window_ms / 1000);
    make_plan();
    connect_redis(redis_path, script_path);
    run(listen_at(socket_path));
}

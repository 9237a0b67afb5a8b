#!/usr/bin/python3
"""A small application that is led by the file router, with what is on a plain Debian: python3 and python3-psycopg2. It makes
payments, CLIENTS of them at once and a few dozen a second each, prints the id of each that was acknowledged, and ends at
SIGTERM after those that it has in hand.

  ROUTE_FILE=/etc/shop/primary.json PHASE=orders SOURCE_URL=postgresql://… TARGET_URL=postgresql://… python3 client.py

Before the first switch the file, or the phase in it, may be missing: clients are on the source then.

  CREATE TABLE account (id int PRIMARY KEY, cents bigint NOT NULL);
  CREATE TABLE payment (id uuid PRIMARY KEY, account int NOT NULL REFERENCES account, cents bigint NOT NULL);
"""
import json, os, random, signal, sys, threading, time, uuid
import psycopg2

def setting(name, otherwise=None):
    return os.environ.get(name, otherwise) or sys.exit(f"set {name}; the first lines of this file say to what")

ROUTE_FILE, PHASE = setting("ROUTE_FILE"), setting("PHASE")
URLS = {"source": setting("SOURCE_URL"), "target": setting("TARGET_URL")}
CLIENTS = int(setting("CLIENTS", "4"))
# A payment that could not be made for so long is given up and told. Longer than a switch may take.
PATIENCE_S = float(setting("PATIENCE_SECONDS", "120"))
PAUSE_S = 0.02
# A server that has vanished without a word: TCP gives up what is not acknowledged for 30 s, and asks after an idle one.
SILENCE = dict(connect_timeout=5, tcp_user_timeout=30_000, keepalives_idle=10, keepalives_interval=5, keepalives_count=3)
# Operational: a connection or server that has gone, a deadlock, a lock, no resources. Interface: closed before.
MAY_PASS = (psycopg2.errors.ReadOnlySqlTransaction, psycopg2.OperationalError, psycopg2.InterfaceError)

stopping = threading.Event()
telling = threading.Lock()
counts = dict(acknowledged=0, readOnly=0, unknown=0, lost=0, other=0)

def tell(what, payment_id):
    with telling:
        counts[what] += 1
        if payment_id:
            print(payment_id, flush=True)

def pay(cursor, payment_id, account, cents):
    """One payment, as a whole transaction. Its id is the client's own: where a first try had taken effect after all, the
    insert finds the id and nothing is done twice. It also waits for one that is on its way, which a SELECT would not see."""
    text = "INSERT INTO payment (id, account, cents) VALUES (%s, %s, %s) ON CONFLICT (id) DO NOTHING"
    cursor.execute(text, (payment_id, account, cents))
    if cursor.rowcount == 1:
        cursor.execute("UPDATE account SET cents = cents + %s WHERE id = %s", (cents, account))

class Client(threading.Thread):
    """One client with one connection, to the side where it was led last."""

    def __init__(self, account):
        super().__init__()
        self.account, self.connection, self.side, self.problem, self.failure = account, None, None, None, None
        self.route = {"primary": "source", "held": False}

    def read_route(self):
        """Where to go now. The file is replaced as a whole; while it cannot be read, what it said last holds."""
        try:
            with open(ROUTE_FILE, encoding="utf-8") as file:
                told = json.load(file).get(PHASE) or {}
            self.route = {"primary": told.get("primary") or "source", "held": told.get("held", False)}
        except (OSError, ValueError):
            pass
        return self.route

    def leave(self):
        connection, self.connection = self.connection, None
        if connection:
            connection.close()

    def attempt(self, side, payment):
        """Tries once, and returns None, or a word for what went wrong and may pass. Raises what may not."""
        if self.side != side:
            self.leave()
        is_asked_to_commit = False
        try:
            if not self.connection:
                self.connection = psycopg2.connect(URLS[side], application_name="sample-python", **SILENCE)
                self.side = side
            pay(self.connection.cursor(), *payment)
            is_asked_to_commit = True
            self.connection.commit()
        except MAY_PASS as error:
            # The next try is on a new connection: one that was told 25006 leads to a side that takes no writes.
            self.leave()
            self.problem = error
            if isinstance(error, psycopg2.errors.ReadOnlySqlTransaction):
                return "readOnly"
            if error.diag.severity_nonlocalized == "ERROR":
                return "other"
            # The server has not said what became of the COMMIT.
            return "unknown" if is_asked_to_commit else "lost"

    def pay_once(self, payment):
        """Pays once and only once, however often it has to try; a client that is held waits. Raises what may not pass."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            route = self.read_route()
            if not route["held"]:
                problem = self.attempt(route["primary"], payment)
                tell(problem or "acknowledged", None if problem else payment[0])
                if problem is None:
                    return
            time.sleep(PAUSE_S)
        raise TimeoutError(f"payment {payment[0]} could not be made within {PATIENCE_S:.0f} s: {self.problem or 'held'}")

    def run(self):
        try:
            while not stopping.is_set():
                self.pay_once((str(uuid.uuid4()), self.account, random.randint(1, 100)))
                time.sleep(PAUSE_S)
        except Exception as error:
            self.failure = error
            stopping.set()

signal.signal(signal.SIGTERM, lambda *_: stopping.set())
clients = [Client(number + 1) for number in range(CLIENTS)]
for act in (Client.start, Client.join):
    for client in clients:
        act(client)
print(json.dumps(counts), file=sys.stderr)
sys.exit("\n".join(str(client.failure) for client in clients if client.failure) or 0)

/*
 * The switch as the code does it: src/domain/protocol.ts (order of steps, states; included below as protocol.pml),
 * src/stages/switch (what a step does), src/stages/tenure.ts and src/sidecar/{lease,ownership,switches}.ts (who may do it).
 * One phase; two workers, either of which may die at any point and come back, be taken over while it only sleeps, and wake up;
 * a target that crashes and loses what it had not flushed; clients that go to any side at any time, whatever a router says.
 *
 * What is one atomic step here is one database transaction there; a check and an act that are two transactions are two steps.
 *
 * Abstractions, and why they hide nothing:
 *  - A side is its log: log[x] holds the rows in commit order, data[x] is their set. Values and keys are left out; strict apply
 *    makes a row that arrives twice an error, and here it is an assertion.
 *  - The target's flush is a step of its own after apply, although a server flushes before a commit is visible: more crashes
 *    lose rows here than there. A client's commit on the target is one step with its flush and its acknowledgement: before
 *    it the row is nobody's business, after it the row must stay. The source commits durably; its crash takes sessions and
 *    transactions in flight, and these may end at any moment anyway.
 *  - All clients of a side are one bit, "a transaction is in flight there": it may commit or end at any time, and anybody may
 *    begin one wherever writes are allowed. Two at once could do nothing that one after another cannot.
 *  - Epochs of a side's ownership row and of its progress row are one number. Only a take-over makes them differ for somebody
 *    else, and that raises both in one transaction.
 *  - Clocks are left out: a budget may run out at any moment, a lease may expire at any moment.
 *  - A slot is told what is durable as soon as it is: later means an older slot position, which is always allowed.
 *  - What a step reads before its window (lag, certificate, preflight) only refuses, so it is left out, but for the slot of the
 *    way back, which is made there. `prove` is taken to find nothing: it must not be what safety rests on. Sequences are not modelled.
 *  - Without -DROUTER the router is not modelled, because it may point anywhere at any time and clients ignore it anyway: that is
 *    the strongest wrong router. With it, it holds, repoints by compare-and-set and remembers its epoch.
 *
 * Sizes by -D: WRITES rows written by clients, SWITCHES switches begun, TAKES take-overs and crashes of workers together,
 * TARGET_CRASHES, EDITS of the router by somebody else. A mutant is one more -D (NO_WAIT, ...), or a changed table.
 */
#ifndef WRITES
#define WRITES 2
#endif
#ifndef SWITCHES
#define SWITCHES 2
#endif
#ifndef TAKES
#define TAKES 2
#endif
#ifndef TARGET_CRASHES
#define TARGET_CRASHES 1
#endif
#ifndef EDITS
#define EDITS 0
#endif

#include "protocol.pml"

/* Sides, and directions by the side that they lead from. */
#define SOURCE 0
#define TARGET 1
#define NOBODY 9
#define NO_LANE 9
#define NOT_SET 99
#define LANE(s) (LANE_FORWARD(s) -> SOURCE : (LANE_REVERSE(s) -> TARGET : NO_LANE))
#define EPOCHS 10

#define OPEN 0
#define COMMITTED 1
#define ABORTED_ 2
#define bit_of(n) (1 << (n))

/* ---- the source: lease, state, record of the switch in hand, outcomes by the id of a switch, which is its epoch */
byte lease = 1;
byte state = READY;
byte sw_id = 0; byte sw_a = 0; byte sw_before = 0;
byte outcome[EPOCHS];
/* A COMMIT of the commit record whose answer was lost; the server has yet to finish it. It holds its locks meanwhile. */
byte pending = 0;
/* Which slot each lane has, by the id of the switch that made it. */
byte slot_of[2];

/* ---- each side */
bool writable[2];
byte epoch[2];
byte rows[2];
byte acked = 0;
#define LOG (WRITES + 1)
byte log_s[LOG]; byte log_t[LOG];
byte head[2];
bool in_flight[2];
/* Slots on the side that a lane leads from, and how far the lane's own has been confirmed. */
short slots[2];
byte confirmed[2];
/* Where the lane was started; NOT_SET without one. How far it has come is on the side that it leads to. */
byte start[2];
byte progress[2];
/* What of the target would survive a crash. */
byte rows_durable = 0; byte head_durable = 0; byte progress_durable = 0;

/* ---- workers: epoch and lane */
byte mine[2];
byte lane_of[2]; byte lane_at[2];

byte writes = 0; byte switches = 0; byte takes = 0; byte target_crashes = 0;

#ifdef ROUTER
bool held = false; byte leads = SOURCE; byte router_epoch = 0;
byte edits = 0;
/* What the switch in hand observed before its window, as recorded; each worker has its own switch's in memory. */
byte sw_leads = 0; byte sw_router_epoch = 0; byte seen_leads[2]; byte seen_epoch[2];
#define AS_OBSERVED (leads == seen_leads[w] && router_epoch == seen_epoch[w])
#endif

/* ---- invariants of notes "what must never happen", asserted wherever one of their terms changes */
#define S1_ONE_WRITABLE_SIDE (!(writable[SOURCE] && writable[TARGET]))
#define S2_NOTHING_LOST ((!writable[SOURCE] || !(acked & ~rows[SOURCE])) && (!writable[TARGET] || !(acked & ~rows_durable)))
#define S6_ACKNOWLEDGED_IS_DURABLE (confirmed[SOURCE] <= progress_durable && confirmed[TARGET] <= progress[TARGET])

#define S11_ONE_OUTCOME(id, wanted) (outcome[id] == OPEN || outcome[id] == wanted)

inline check() { assert(S1_ONE_WRITABLE_SIDE); assert(S2_NOTHING_LOST) }

inline flush() { rows_durable = rows[TARGET]; head_durable = head[TARGET]; progress_durable = progress[SOURCE] }

inline append(x, row) {
  if :: x == SOURCE -> log_s[head[SOURCE]] = row :: else -> log_t[head[TARGET]] = row fi;
  head[x] = head[x] + 1; rows[x] = rows[x] | bit_of(row)
}

/* ---- clients, who may go anywhere at any time */
#ifdef ROUTER
#define ROUTED(x) (!held && leads == x)
#else
#define ROUTED(x) true
#endif

inline begin_on(x) { in_flight[x] = true }

inline commit_on(x) {
  row = writes; writes++; in_flight[x] = false;
  /* S8: what the application commits here is after the start of the lane that leads away from here. */
  assert(start[x] <= head[x]);
  append(x, row); acked = acked | bit_of(row);
  if :: x == TARGET -> flush() :: else fi;
  row = 0; check()
}

proctype clients() {
  byte row;
end: do
  :: atomic { writable[SOURCE] && ROUTED(SOURCE) && !in_flight[SOURCE] && writes < WRITES -> begin_on(SOURCE) }
  :: atomic { writable[TARGET] && ROUTED(TARGET) && !in_flight[TARGET] && writes < WRITES -> begin_on(TARGET) }
  :: atomic { in_flight[SOURCE] && writes < WRITES -> commit_on(SOURCE) }
  :: atomic { in_flight[TARGET] && writes < WRITES -> commit_on(TARGET) }
  :: atomic { in_flight[SOURCE] -> in_flight[SOURCE] = false }
  :: atomic { in_flight[TARGET] -> in_flight[TARGET] = false }
  od
}

#ifdef NO_EPOCH_ON_LANE
#define LANE_IS_DEPOSED(w, d) false
#else
#define LANE_IS_DEPOSED(w, d) (epoch[1 - d] > mine[w])
#endif

/* ---- what a worker's lane does, at any time, also while the worker sleeps or has been deposed without its knowing */
inline apply(w) {
  d = lane_of[w];
  if
  :: LANE_IS_DEPOSED(w, d) -> lane_of[w] = NO_LANE; lane_at[w] = 0
  :: else ->
     if :: d == SOURCE -> row = log_s[lane_at[w]] :: else -> row = log_t[lane_at[w]] fi;
     /* S3, S9: nothing is applied twice, nothing comes back to where it began. */
     assert((rows[1 - d] & bit_of(row)) == 0);
     append(1 - d, row);
     lane_at[w] = lane_at[w] + 1; progress[d] = lane_at[w]; epoch[1 - d] = mine[w];
     if :: d == TARGET -> confirmed[TARGET] = progress[TARGET] :: else fi;
#ifdef ACK_EARLY
     confirmed[d] = progress[d];
#endif
     assert(S6_ACKNOWLEDGED_IS_DURABLE);
     check(); row = 0
  fi;
  d = 0
}

/* The server sends what is flushed. */
#define HAS_MORE(w) ((lane_of[w] == SOURCE && lane_at[w] < head[SOURCE]) || (lane_of[w] == TARGET && lane_at[w] < head_durable))

proctype lane(byte w) {
  byte row; byte d;
end: do
  :: atomic { lane_of[w] != NO_LANE && HAS_MORE(w) -> apply(w) }
#ifdef HALTS
  :: goto halted
#endif
  od;
halted:
end_halted: false
}

proctype target() {
end: do
  :: atomic { head_durable < head[TARGET] || progress_durable < progress[SOURCE] ->
       flush(); confirmed[SOURCE] = progress_durable; assert(S6_ACKNOWLEDGED_IS_DURABLE) }
  :: atomic { target_crashes < TARGET_CRASHES ->
       target_crashes++;
       do :: head[TARGET] > head_durable -> head[TARGET] = head[TARGET] - 1; log_t[head[TARGET]] = 0 :: else -> break od;
       rows[TARGET] = rows_durable; progress[SOURCE] = progress_durable; in_flight[TARGET] = false;
       /* Lanes that had a session there open again with the progress that is stored, or refuse a slot that is past it. */
       if :: lane_of[0] == SOURCE -> lane_at[0] = progress[SOURCE] :: else fi;
       if :: lane_of[1] == SOURCE -> lane_at[1] = progress[SOURCE] :: else fi;
       check() }
  od
}

/* The server finishes a COMMIT whose answer was lost, or dies first. */
proctype late_commit() {
end: do
  :: atomic { pending != 0 ->
       assert(S11_ONE_OUTCOME(pending, COMMITTED)); outcome[pending] = COMMITTED; pending = 0 }
  :: atomic { pending != 0 -> pending = 0 }
  od
}

#ifdef TIMER
proctype timer() {
end: do
  :: atomic { state == SWITCHING && !writable[sw_a] -> writable[sw_a] = true; check() }
  od
}
#endif

#ifdef ROUTER
proctype somebody() {
end: do
  :: atomic { edits < EDITS -> edits++; leads = NOBODY; router_epoch = 0 }
  od
}
#endif

/* ---- a worker */
inline may_die() { if :: true :: atomic { takes < TAKES -> takes++; goto died } fi }
inline stop_lane(w) { lane_of[w] = NO_LANE; lane_at[w] = 0 }
inline follow(w, dir) {
  /* A lane begins at the stored progress, from a slot that is there and not past it (S14). */
  assert((slots[dir] & bit_of(slot_of[dir])) && confirmed[dir] <= progress[dir]);
  lane_of[w] = dir; lane_at[w] = progress[dir]
}
inline claim(w, dir) { epoch[1 - (dir)] = mine[w] }
inline drop_slot(dir, which) {
  /* S14, L5: the slot of a lane that some state needs stays. */
  assert(LANE(state) != dir || slot_of[dir] != which);
  slots[dir] = slots[dir] & ~bit_of(which);
  if :: slot_of[dir] == which -> start[dir] = NOT_SET :: else fi
}

/* Before each step the worker may die, or the window may run out, or something fails. */
inline before_intent() { may_die() }
inline before_window() { if :: true :: goto give_up :: atomic { takes < TAKES -> takes++; goto died } fi }
inline before_commit() { before_window() }
#ifdef RESCUE
inline before_completing() { may_die(); if :: true :: atomic { writable[a] = true; check(); goto rest } fi }
#else
inline before_completing() { may_die() }
#endif
inline before_undoing() { may_die() }

/* A transaction that holds the lease's row waits for the COMMIT in flight to end where it would change that row. */
inline do_intent() {
  atomic { pending == 0 -> if :: lease != mine[w] -> goto deposed :: else -> lease++; mine[w] = lease fi }
  may_die();
  atomic {
    if :: lease != mine[w] -> goto deposed :: else fi;
    assert(MAY_FOLLOW(state, SWITCHING));
    sw_before = state; sw_id = mine[w]; sw_a = a; state = SWITCHING; id = mine[w]; record_observed()
  }
}

#ifdef ROUTER
/* A router does not know epochs when it holds: a worker that is deposed in its switch lets go. */
inline forget_hold() { holds = false }
inline do_hold() { atomic { held = true; holds = true } }
#ifdef SLEEPER_HOLDS
inline let_go() { holds = false }
#else
inline let_go() { if :: holds -> held = false; holds = false :: else fi }
#endif
inline do_release() { held = false }
inline do_repoint() {
  atomic {
    if
    :: mine[w] < router_epoch && !AS_OBSERVED ->
       if :: leads == 1 - a :: else -> goto parked fi
    :: else ->
       if
       :: leads != 1 - a && !AS_OBSERVED -> goto parked
       :: else -> leads = 1 - a; router_epoch = mine[w]
       fi
    fi
  }
}
inline observe() { seen_leads[w] = leads; seen_epoch[w] = router_epoch }
inline record_observed() { sw_leads = seen_leads[w]; sw_router_epoch = seen_epoch[w] }
inline recall_observed() { seen_leads[w] = sw_leads; seen_epoch[w] = sw_router_epoch }
#else
inline do_hold() { skip }
inline forget_hold() { skip }
inline let_go() { skip }
inline do_release() { skip }
inline do_repoint() { skip }
inline observe() { skip }
inline record_observed() { skip }
inline recall_observed() { skip }
#endif

#ifdef NO_EPOCH_ON_A
#define A_KNOWS_NO_NEWER true
#else
#define A_KNOWS_NO_NEWER (epoch[a] <= mine[w])
#endif
#ifdef NO_EPOCH_ON_B
#define B_KNOWS_NO_NEWER true
#else
#define B_KNOWS_NO_NEWER (epoch[1 - a] <= mine[w])
#endif
#ifdef NO_WAIT
#define NO_WRITER_LEFT true
#else
#define NO_WRITER_LEFT (!in_flight[a])
#endif
/* The commit record's transaction has the source's ownership row. */
#define FREE(x) ((x) != SOURCE || pending == 0)

/* Lock, trigger and ownership are one transaction; the locks wait for every writer, or the window runs out. */
inline do_fence() {
  if
  :: atomic { NO_WRITER_LEFT && FREE(a) ->
       if :: !A_KNOWS_NO_NEWER -> goto deposed :: else fi;
       writable[a] = false; epoch[a] = mine[w] }
  :: goto give_up
  fi
}

inline do_position() { p = head[a] }

#ifdef NO_FLUSH
#define ARRIVED (progress[a] >= p)
#else
#define ARRIVED ((a == SOURCE -> progress_durable : progress[a]) >= p)
#endif
inline do_drain() {
  if
  :: atomic { lane_of[w] == a && ARRIVED -> p = 0 }
#ifndef NO_BUDGET
  :: goto give_up
#endif
  fi
}

inline do_prove() { atomic { stop_lane(w) } }

inline do_sequences() {
  atomic { if :: !B_KNOWS_NO_NEWER -> goto deposed :: else -> epoch[1 - a] = mine[w] fi }
}

/* The head is read; then the lane's progress is set to it on A, and the lane starts. */
inline do_way_back() {
  r = head[1 - a];
  may_die();
  atomic {
    FREE(a) ->
    if :: epoch[a] > mine[w] -> goto deposed :: else fi;
    epoch[a] = mine[w]; progress[1 - a] = r; start[1 - a] = r;
    if :: 1 - a == SOURCE && progress_durable > r -> progress_durable = r :: else fi;
    if :: 1 - a == SOURCE -> flush() :: else fi;
    r = 0; follow(w, 1 - a)
  }
}

/* One transaction: the lease, the outcome unless there is one, the source's ownership row. */
inline do_commit() {
  if
  :: atomic {
       pending == 0 ->
#ifndef BLIND_COMMIT
       if :: lease != mine[w] || epoch[SOURCE] > mine[w] -> goto deposed
          :: else -> if :: outcome[id] == ABORTED_ -> goto settle :: else fi
       fi;
#endif
       /* S10: equal on both sides when the record is made. */
       assert(outcome[id] == COMMITTED || rows[SOURCE] == rows[TARGET]);
       assert(S11_ONE_OUTCOME(id, COMMITTED));
       outcome[id] = COMMITTED; epoch[SOURCE] = mine[w] }
  :: atomic { pending == 0 && lease == mine[w] && outcome[id] == OPEN -> pending = id; goto give_up }
  fi;
  /* The answer may be lost although it is done. */
  if :: true :: goto give_up fi
}

inline lift(x) { writable[x] = true; epoch[x] = mine[w]; check() }

/* What the side's own row says is done already is not done again, and then the row is not written: the probe of a restart. */
inline do_lift() {
  if
  :: atomic { FREE(1 - a) && writable[1 - a] -> skip }
  :: atomic { FREE(1 - a) -> if :: !B_KNOWS_NO_NEWER -> goto deposed :: else -> lift(1 - a) fi }
  fi
}

inline do_retire() {
  atomic { FREE(a) -> if :: !A_KNOWS_NO_NEWER -> goto deposed :: else -> epoch[a] = mine[w] fi }
  may_die();
  atomic { if :: lease != mine[w] -> goto deposed :: else -> g = slot_of[a] fi }
  atomic { drop_slot(a, g); g = 0 }
}

/* A question and what is told of the answer; whoever is ended on A is refused there anyway. */
inline do_probe() { skip }

inline do_states() {
  atomic {
    pending == 0 -> if :: lease != mine[w] -> goto deposed :: else fi;
    assert(MAY_FOLLOW(state, (a == SOURCE -> SOAKING : FOLLOWING)));
    state = (a == SOURCE -> SOAKING : FOLLOWING); sw_id = 0; sw_a = 0; sw_before = 0
  }
}

inline do_undo_fence() {
  if
  :: atomic { FREE(a) && writable[a] -> skip }
  :: atomic { FREE(a) -> if :: !A_KNOWS_NO_NEWER -> goto deposed :: else -> lift(a) fi }
  fi
}

inline do_undo_hold() { do_release() }

inline do_undo_way_back() {
  atomic { if :: lease != mine[w] -> goto deposed :: else fi }
  atomic { drop_slot(1 - a, id) }
}

inline do_undo_states() {
  atomic {
    if :: lease != mine[w] -> goto deposed :: else fi;
    assert(MAY_FOLLOW(state, sw_before));
    state = sw_before; sw_id = 0; sw_a = 0; sw_before = 0
  }
}

/* The commit record alone decides; without one an abort takes its place, and waits for a COMMIT that is in flight. */
#ifdef NOT_UNIQUE
#define UNDECIDED_NOWHERE true
#else
#define UNDECIDED_NOWHERE (pending == 0)
#endif
inline decide() {
#ifdef NO_RECORD
  atomic { if :: lease != mine[w] -> goto deposed :: else -> o = (outcome[id] == COMMITTED -> COMMITTED : ABORTED_) fi }
#else
  atomic {
    UNDECIDED_NOWHERE ->
    if :: lease != mine[w] -> goto deposed :: else fi;
    if :: outcome[id] == OPEN -> outcome[id] = ABORTED_ :: else fi;
    o = outcome[id]
  }
#endif
}

/* Slots that no state uses are dropped. The name is read while the lease is ours: no later worker's slot has it. */
inline sweep() {
  atomic { o = (LANE(state) == NO_LANE -> NO_LANE : 1 - LANE(state)) }
  if
  :: o != NO_LANE ->
     atomic {
#ifndef SWEEP_UNCHECKED
       if :: lease != mine[w] -> goto deposed :: else fi;
#endif
       g = slot_of[o] }
     atomic { drop_slot(o, g); g = 0; o = 0 }
  :: else -> o = 0
  fi
}

proctype worker(byte w; bool at_work) {
  byte a; byte id; byte p; byte r; byte o; byte g;
#ifdef ROUTER
  bool holds;
#endif
  if :: at_work -> goto idle :: else -> goto rest fi;

take:
  atomic { pending == 0 -> lease++; mine[w] = lease; a = 0; id = 0; p = 0; r = 0; o = 0; g = 0 }
#ifndef TAKE_WITHOUT_RAISE
  may_die();
  atomic { if :: epoch[SOURCE] < mine[w] -> epoch[SOURCE] = mine[w] :: else fi }
  may_die();
  atomic { if :: epoch[TARGET] < mine[w] -> epoch[TARGET] = mine[w] :: else fi }
#endif
  may_die();
  if :: state == SWITCHING -> goto settle :: else fi;
opened:
  sweep();
ensure_lane:
  atomic {
    if
    :: lease != mine[w] -> goto deposed
    :: else ->
       if :: LANE(state) != NO_LANE && lane_of[w] != LANE(state) -> claim(w, LANE(state)); follow(w, LANE(state))
          :: else fi
    fi
  }
idle:
end:
  if
  /* A switch is asked for: the slot of its way back is made, then its epoch is raised and its intent recorded. */
  :: atomic { (state == READY || state == FOLLOWING || state == SOAKING) && switches < SWITCHES ->
       switches++; a = LANE(state); g = mine[w] + 1; observe() }
     if :: atomic { lease != mine[w] -> goto deposed }
        :: atomic { lease == mine[w] -> slot_of[1 - a] = g } fi;
     atomic {
       slots[1 - a] = slots[1 - a] | bit_of(g);
       if :: slot_of[1 - a] == g -> confirmed[1 - a] = (a == SOURCE -> head_durable : head[SOURCE]); start[1 - a] = NOT_SET;
             progress[1 - a] = confirmed[1 - a];
             if :: a == TARGET -> progress_durable = progress[SOURCE] :: else fi
          :: else fi;
       g = 0 }
     steps_of_intent();
     steps_of_window();
     steps_of_commit();
     goto complete
#ifdef ROUTER
#ifndef SLEEPER_HOLDS
  /* `status` tells of clients that are held although no switch is under way; `resume` lets them go on. */
  :: atomic { held && state != SWITCHING && lease == mine[w] -> held = false }; goto idle
#endif
#endif
  /* Somebody runs `resume`. */
  :: atomic { state == SWITCHING && lease == mine[w] -> skip }; goto settle
#ifndef NOBODY_RESUMES
  :: atomic { takes < TAKES -> takes++; goto died }
#endif
  :: atomic { lease != mine[w] -> goto deposed }
  fi;

give_up:
  atomic { if :: lane_of[w] == 1 - a -> stop_lane(w) :: else fi; p = 0; r = 0 }
#ifdef UNDO_WITHOUT_READING
  goto undo;
#endif
settle:
  atomic { if :: lease != mine[w] || state != SWITCHING -> goto deposed :: else -> a = sw_a; id = sw_id; recall_observed() fi }
  decide();
  if :: o == COMMITTED -> goto complete :: else -> goto undo fi;
complete:
  o = 0;
  steps_of_completing();
  goto settled;
undo:
  o = 0;
  steps_of_undoing();
settled:
  atomic { forget_hold(); a = 0; id = 0; goto ensure_lane }

parked:
  atomic { forget_hold(); a = 0; id = 0; g = 0; o = 0; goto idle }
died:
  atomic { forget_hold(); stop_lane(w); mine[w] = 0; a = 0; id = 0; p = 0; r = 0; o = 0; g = 0 }
#ifdef NOBODY_RESUMES
  goto rest;
#else
  goto take;
#endif
deposed:
  atomic { let_go(); stop_lane(w); mine[w] = 0; a = 0; id = 0; p = 0; r = 0; o = 0; g = 0 }
rest:
end_rest:
  /* It begins anew some day, and takes the lease: it is free, or has expired, or seems to have. */
  atomic { takes < TAKES -> takes++; goto take }
}

/*
 * Liveness, under weak fairness: processes do not stand still, and a worker that died comes back (somebody runs a command).
 * L1, L2: whenever neither side is writable, one will be; a switch that has begun ends. The claims are written so that what
 * refutes them is "from some time on, always": Spin's fairness misses refutations that alternate when all processes have ended.
 */
ltl one_side { [] (!(writable[SOURCE] || writable[TARGET]) -> <> (writable[SOURCE] || writable[TARGET])) }
ltl switch_ends { [] (state == SWITCHING -> <> (state != SWITCHING)) }
#ifdef ROUTER
#define LED ((leads == SOURCE && writable[SOURCE]) || (leads == TARGET && writable[TARGET]))
/* Clients are not held for ever, and end up on the writable side. */
ltl hold_ends { [] (held -> <> !held) }
ltl led { [] (!LED -> <> LED) }
#endif

init {
  atomic {
    writable[SOURCE] = true; epoch[SOURCE] = 1; epoch[TARGET] = 1;
    slots[SOURCE] = bit_of(0); start[TARGET] = NOT_SET;
    /* The first worker holds the lease and follows; the second has not begun. */
    mine[0] = lease; lane_of[0] = SOURCE; lane_of[1] = NO_LANE;
    run worker(0, true); run worker(1, false); run lane(0); run lane(1); run clients(); run target(); run late_commit();
#ifdef TIMER
    run timer();
#endif
#ifdef ROUTER
    run somebody();
#endif
  }
}

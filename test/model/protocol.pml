/* Made by `npm run generate` from src/domain/protocol.ts. Do not edit. */

#define PLANNED   0
#define PREPARED  1
#define COPYING   2
#define FOLLOWING 3
#define READY     4
#define SWITCHING 5
#define SOAKING   6
#define FINALISED 7
#define ABORTED   8

#define MAY_FOLLOW(from, to) ( \
  ((from) == PLANNED && (to) == PREPARED) || \
  ((from) == PREPARED && (to) == COPYING) || \
  ((from) == COPYING && (to) == FOLLOWING) || \
  ((from) == FOLLOWING && (to) == READY) || \
  ((from) == READY && (to) == FOLLOWING) || \
  ((from) == FOLLOWING && (to) == SWITCHING) || \
  ((from) == READY && (to) == SWITCHING) || \
  ((from) == SOAKING && (to) == SWITCHING) || \
  ((from) == SWITCHING && (to) == SOAKING) || \
  ((from) == SWITCHING && (to) == FOLLOWING) || \
  ((from) == SWITCHING && (to) == READY) || \
  ((from) == SOAKING && (to) == FINALISED) || \
  ((from) == PLANNED && (to) == ABORTED) || \
  ((from) == PREPARED && (to) == ABORTED) || \
  ((from) == COPYING && (to) == ABORTED) || \
  ((from) == FOLLOWING && (to) == ABORTED) || \
  ((from) == READY && (to) == ABORTED))
#define LANE_FORWARD(s) ((s) == COPYING || (s) == FOLLOWING || (s) == READY)
#define LANE_REVERSE(s) ((s) == SOAKING)
#define PRIMARY_TARGET(s) ((s) == SOAKING || (s) == FINALISED)

inline steps_of_intent() {
  before_intent(); do_intent();
}

inline steps_of_window() {
  before_window(); do_hold();
  before_window(); do_fence();
  before_window(); do_position();
  before_window(); do_drain();
  before_window(); do_prove();
  before_window(); do_sequences();
  before_window(); do_way_back();
}

inline steps_of_commit() {
  before_commit(); do_commit();
}

inline steps_of_completing() {
  before_completing(); do_lift();
  before_completing(); do_repoint();
  before_completing(); do_release();
  before_completing(); do_retire();
  before_completing(); do_probe();
  before_completing(); do_states();
}

inline steps_of_undoing() {
  before_undoing(); do_undo_fence();
  before_undoing(); do_undo_hold();
  before_undoing(); do_undo_way_back();
  before_undoing(); do_undo_states();
}

import { useMemo, useRef, useState } from "preact/hooks";
import { api, type Schemas } from "../api/client";
import { problemOf } from "../lib/errors";
import { counted } from "../lib/format";
import { saver } from "../lib/newest";
import { announce } from "./announcer";

interface Rating {
  stars: number;
  comment: string;
}

const STARS = [1, 2, 3, 4, 5] as const;

/**
 * What the person thinks of an answer: one to five stars, and a comment if they like. `given`: what they have said before.
 * The stars are radio buttons: one of them is in the tab order, arrow keys choose. A rating replaces the one before, so only
 * the newest is sent while another one is on its way, and the same again changes nothing.
 */
export function Rate({ runId, given = null }: { runId: string; given?: Schemas["RunFeedbackAnswer"] | null }) {
  const [chosen, setChosen] = useState<number | null>(given?.rating ?? null);
  const [saved, setSaved] = useState<Rating | null>(given?.rating ? { stars: given.rating, comment: given.comment } : null);
  const [comment, setComment] = useState(given?.comment ?? "");
  const [isCommenting, setCommenting] = useState(false);
  const [failure, setFailure] = useState<{ error: unknown; of: Rating } | null>(null);
  const [hasSaved, setHasSaved] = useState(false);
  const stars = useRef<HTMLFieldSetElement>(null);
  const newest = useRef<Rating | null>(null);
  const { save } = useMemo(
    () =>
      saver((rating: Rating) =>
        api.post("/playground/runs/{run_id}/feedback", {
          path: { run_id: runId },
          body: { rating: rating.stars, is_helpful: rating.stars >= 3, comment: rating.comment },
        }),
      ),
    [runId],
  );

  /** Whether this is what was saved in the end. */
  const send = async (rating: Rating): Promise<boolean> => {
    newest.current = rating;
    setFailure(null);
    setHasSaved(false);
    try {
      await save(rating);
      if (newest.current !== rating) return false;
      setSaved(rating);
      setHasSaved(true);
      announce(rating.comment === "" ? "Your rating is saved" : "Your rating is saved with your comment");
      return true;
    } catch (error) {
      if (newest.current === rating) setFailure({ error, of: rating });
      return false;
    }
  };
  const choose = (wanted: number) => {
    setChosen(wanted);
    setCommenting(true);
    // A comment that is still being written is not sent with the stars.
    void send({ stars: wanted, comment: saved?.comment ?? "" });
  };
  const sendComment = async () => {
    if (chosen === null || comment.trim() === (saved?.comment ?? "")) return;
    if (!(await send({ stars: chosen, comment: comment.trim() }))) return;
    setCommenting(false);
    stars.current?.querySelector<HTMLInputElement>("input:checked")?.focus({ preventScroll: true }); // the field is gone
  };
  const isOn = (number: number) => chosen !== null && number <= chosen;
  const problem = failure === null ? null : problemOf(failure.error);
  return (
    <div class="rate">
      <fieldset class="stars" ref={stars}>
        <legend>{saved !== null ? "Your rating" : "Rate this answer"}</legend>
        {STARS.map((number) => (
          <label key={number} class={isOn(number) ? "star star-on" : "star"}>
            <input type="radio" class="unseen" name={`rating-${runId}`} checked={chosen === number} onChange={() => choose(number)} />
            <span aria-hidden="true">{isOn(number) ? "★" : "☆"}</span>
            <span class="unseen">{counted(number, "star")}</span>
          </label>
        ))}
        <span class="hint">{!hasSaved ? "" : saved?.comment ? "Saved with your comment." : "Saved. Thank you."}</span>
      </fieldset>
      {isCommenting && chosen !== null && (
        <form
          class="comment"
          onSubmit={(event) => {
            event.preventDefault();
            void sendComment();
          }}
        >
          <label>
            <span class="unseen">Comment</span>
            <input
              type="text"
              dir="auto"
              maxLength={1000}
              placeholder="What was good or bad about it? (if you like)"
              value={comment}
              onInput={(event) => setComment(event.currentTarget.value)}
            />
          </label>
          <button type="submit" class="button">
            Send
          </button>
        </form>
      )}
      {failure !== null && problem !== null && (
        <p class="problem" role="alert">
          Your rating is not saved. {problem.title}. {problem.text}{" "}
          {failure.of.stars === chosen && (
            <button type="button" class="link" onClick={() => void send(failure.of)}>
              Send it again
            </button>
          )}
        </p>
      )}
    </div>
  );
}

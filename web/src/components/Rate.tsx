import { useState } from "preact/hooks";
import { api, type Schemas } from "../api/client";
import { problemOf } from "../lib/errors";
import { counted } from "../lib/format";
import { announce } from "./announcer";

/** What the person thinks of an answer: one to five stars, and a comment if they like. `given`: what they have said. */
export function Rate({ runId, given = null }: { runId: string; given?: Schemas["RunFeedbackAnswer"] | null }) {
  const [rating, setRating] = useState(given?.rating ?? null);
  const [comment, setComment] = useState(given?.comment ?? "");
  const [saved, setSaved] = useState<"no" | "yes" | "with comment">("no");
  const [problem, setProblem] = useState<string | null>(null);
  const send = async (stars: number, text: string) => {
    setRating(stars);
    setProblem(null);
    try {
      await api.post("/playground/runs/{run_id}/feedback", {
        path: { run_id: runId },
        body: { rating: stars, is_helpful: stars >= 3, comment: text },
      });
      setSaved(text === "" ? "yes" : "with comment");
      announce("Your rating is saved");
    } catch (error) {
      setProblem(problemOf(error).title);
    }
  };
  return (
    <div class="rate">
      <fieldset class="stars">
        <legend>{given?.rating ? "Your rating" : "Rate this answer"}</legend>
        {[1, 2, 3, 4, 5].map((stars) => (
          <label key={stars} class={rating !== null && stars <= rating ? "star star-on" : "star"}>
            <input
              type="radio"
              class="unseen"
              name={`rating-${runId}`}
              checked={rating === stars}
              onChange={() => void send(stars, comment)}
            />
            <span aria-hidden="true">★</span>
            <span class="unseen">
              {counted(stars, "star")}
            </span>
          </label>
        ))}
        <span class="hint">{saved === "no" ? "" : saved === "yes" ? "Saved. Thank you." : "Saved with your comment."}</span>
      </fieldset>
      {rating !== null && saved !== "with comment" && (given?.rating !== rating || saved === "yes") && (
        <form
          class="comment"
          onSubmit={(event) => {
            event.preventDefault();
            if (comment.trim() !== "") void send(rating, comment.trim());
          }}
        >
          <label>
            <span class="unseen">Comment</span>
            <input
              type="text"
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
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
    </div>
  );
}

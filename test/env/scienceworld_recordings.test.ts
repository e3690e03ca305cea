/** Recordings of the real simulator, every field of every step, played by a stub of its process. */
import { test } from "vitest";
import {
  checkRecording,
  readScienceRecording,
  scienceRecordings,
  stubJava,
  stubWorld,
  withScienceRecordings,
} from "../support/scienceworld.js";

withScienceRecordings.describe("recordings of the simulator", () => {
  test.each(scienceRecordings())("%s", async (_, file) => {
    const recording = readScienceRecording(file);
    const { world } = stubWorld([stubJava([file])], { simplifications: recording.simplifications || "none" });
    await checkRecording(recording, world);
    await world.close();
  });
});

/** Weighted negative log-likelihood: gradients of every token and partial statistics; one invocation owns 16 tokens. */
import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { tokenPart } from "./token_statistics.js";

export function tokens(lossScale: boolean): string {
  return wgsl`
${tokenPart}
  let seed = ${lossScale ? "loss_scale[0]" : "1.0"};
  var count = 0.0;
  var loss = 0.0;
  var likelihood = 0.0;
  for (var t = first; t < last; t++) {
    let w = weight[t];
    if (w > 0.0) {
      store_d_log_prob(t, -w * seed);
      count += 1.0;
      loss -= w * log_prob[t];
      likelihood += log_prob[t];
    } else {
      store_d_log_prob(t, 0.0);
    }
  }
  partial[part * 3u] = count;
  partial[part * 3u + 1u] = loss;
  partial[part * 3u + 2u] = likelihood;
}`;
}

/** Random numbers in kernels: functions of key and counter. The key is `params.seed` and `params.seed_high`. */

/** `uniform_of(counter)`: Philox4x32-10 as in src/core/philox.ts; the upper 23 bits of its first word, in (0, 1). */
export const philox = `
fn multiply_high(x: u32, y: u32) -> u32 {
  let x_low = x & 0xffffu;
  let x_high = x >> 16u;
  let y_low = y & 0xffffu;
  let y_high = y >> 16u;
  let middle = x_high * y_low + ((x_low * y_low) >> 16u);
  let other = x_low * y_high + (middle & 0xffffu);
  return x_high * y_high + (middle >> 16u) + (other >> 16u);
}
fn uniform_of(start: vec4<u32>) -> f32 {
  var words = start;
  var key = vec2<u32>(params.seed, params.seed_high);
  for (var round = 0u; round < 10u; round++) {
    let high0 = multiply_high(0xd2511f53u, words.x);
    let high1 = multiply_high(0xcd9e8d57u, words.z);
    words = vec4<u32>(high1 ^ words.y ^ key.x, 0xcd9e8d57u * words.z, high0 ^ words.w ^ key.y, 0xd2511f53u * words.x);
    key += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
  }
  return (f32(words.x >> 9u) + 0.5) * 0.00000011920928955078125;
}`;

// One stream of the server: blocks of 16-bit samples, as many as are asked for.

const GONE = "The connection to the server was lost. Is it still running?";

/**
 * @param first what the stream shall be: the server's first message.
 * @param prime Float32Array of samples that it goes on from, or null.
 * @param on.begun called with what the stream is, on.block with Int16Array after Int16Array, on.failed with words.
 * @returns {more(count), warm(temperature), close()}
 */
export function openStream(first, prime, on) {
  const address = new URL("stream", document.baseURI);
  address.protocol = address.protocol.replace("http", "ws");
  const socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  let failure = GONE;
  const say = (message) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
  };
  socket.onopen = () => {
    say(prime ? { ...first, prime: true } : first);
    if (prime) socket.send(prime);
  };
  socket.onmessage = ({ data }) => {
    if (typeof data !== "string") return on.block(new Int16Array(data));
    const said = JSON.parse(data);
    if (said.error) failure = said.error;
    else on.begun(said);
  };
  socket.onclose = () => on.failed(failure);
  return {
    more: (count) => say({ more: count }),
    warm: (temperature) => say({ temperature }),
    close: () => {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    },
  };
}

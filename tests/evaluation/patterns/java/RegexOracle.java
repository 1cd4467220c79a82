import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.util.regex.Pattern;

/**
 * Answers lines of "pattern TAB text" (UTF-16 code units as four hexadecimal digits each) with
 * T (the whole text matches), F (it does not), E (the pattern does not compile), B (the engine
 * itself broke while matching) or G (given up: too many steps, or the stack overflowed). The first
 * line it prints is its own feature version.
 */
public class RegexOracle {
    private static final int STEPS = 3_000_000;

    public static void main(String[] arguments) throws IOException {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        PrintWriter out = new PrintWriter(System.out);
        out.println(Runtime.version().feature());
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            int tab = line.indexOf('\t');
            out.println(answer(text(line.substring(0, tab)), text(line.substring(tab + 1))));
        }
        out.flush();
    }

    private static char answer(String pattern, String text) {
        Pattern compiled;
        try {
            compiled = Pattern.compile(pattern);
        } catch (RuntimeException | OutOfMemoryError refused) {
            return 'E';
        }
        try {
            return compiled.matcher(new Counted(text)).matches() ? 'T' : 'F';
        } catch (GivenUp | StackOverflowError endless) {
            return 'G';
        } catch (RuntimeException broken) {
            return 'B';
        }
    }

    private static String text(String hexadecimal) {
        StringBuilder text = new StringBuilder();
        for (int at = 0; at < hexadecimal.length(); at += 4) {
            text.append((char) Integer.parseInt(hexadecimal.substring(at, at + 4), 16));
        }
        return text.toString();
    }

    private static final class GivenUp extends RuntimeException {
    }

    private static final class Counted implements CharSequence {
        private final String text;
        private int steps;

        Counted(String text) {
            this.text = text;
        }

        @Override
        public char charAt(int index) {
            if (++steps > STEPS) {
                throw new GivenUp();
            }
            return text.charAt(index);
        }

        @Override
        public int length() {
            return text.length();
        }

        @Override
        public CharSequence subSequence(int start, int end) {
            return text.subSequence(start, end);
        }

        @Override
        public String toString() {
            return text;
        }
    }
}

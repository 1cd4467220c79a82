import com.amplitude.experiment.CohortSyncConfig;
import com.amplitude.experiment.EvaluationProxyConfig;
import com.amplitude.experiment.Experiment;
import com.amplitude.experiment.ExperimentUser;
import com.amplitude.experiment.LocalEvaluationClient;
import com.amplitude.experiment.LocalEvaluationConfig;
import com.amplitude.experiment.Variant;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Set;
import org.json.JSONArray;
import org.json.JSONObject;
import org.json.JSONTokener;

/**
 * Drives the official JVM SDK, unmodified, in local evaluation with cohort sync, on its own or in
 * its proxy mode. Reads one job as JSON from standard input, writes the variants of every user; or,
 * if the job names a flag, a line for each variant that it takes for one user, until it is killed.
 */
public final class JvmClient {
    public static void main(String[] arguments) throws InterruptedException {
        JSONObject job = new JSONObject(
            new JSONTokener(new InputStreamReader(System.in, StandardCharsets.UTF_8)));
        if (job.has("flag")) {
            follow(job);
            return;
        }
        LocalEvaluationClient client =
            Experiment.initializeLocal(job.getString("key"), config(job));
        client.start();
        JSONArray found = new JSONArray();
        for (Object each : job.getJSONArray("users")) {
            JSONObject variants = new JSONObject();
            client.evaluateV2(user((JSONObject) each))
                .forEach((flag, variant) -> variants.put(flag, json(variant)));
            found.put(variants);
        }
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        out.println(found);
        out.flush();
        // The SDK's scheduler is no daemon.
        System.exit(0);
    }

    private static void follow(JSONObject job) throws InterruptedException {
        String proxy = job.getString("proxy");
        LocalEvaluationClient client = Experiment.initializeLocal(
            job.getString("key"),
            LocalEvaluationConfig.builder()
                .serverUrl(proxy)
                .streamServerUrl(proxy)
                .streamUpdates(true)
                .flagConfigPollerIntervalMillis(job.getLong("pollingMillis"))
                .build());
        client.start();
        JSONObject asked = job.getJSONObject("user");
        ExperimentUser user = ExperimentUser.builder()
            .userId(asked.getString("user_id"))
            .deviceId(asked.getString("device_id"))
            .build();
        String last = "";
        while (true) {
            Variant found = client.evaluateV2(user).get(job.getString("flag"));
            String variant = found == null ? "none" : found.key;
            if (!variant.equals(last)) {
                System.out.println(variant);
            }
            last = variant;
            Thread.sleep(20);
        }
    }

    private static LocalEvaluationConfig config(JSONObject job) {
        String proxy = job.getString("proxy");
        LocalEvaluationConfig.Builder builder = LocalEvaluationConfig.builder()
            .serverUrl(proxy)
            .streamServerUrl(proxy)
            .streamUpdates(job.getBoolean("streaming"))
            .cohortSyncConfig(new CohortSyncConfig(
                job.getString("apiKey"),
                job.getString("secretKey"),
                job.getInt("maxCohortSize"),
                proxy));
        if (job.getBoolean("proxyMode")) {
            builder.evaluationProxyConfig(new EvaluationProxyConfig(proxy));
        }
        return builder.build();
    }

    private static ExperimentUser user(JSONObject user) {
        ExperimentUser.Builder builder = ExperimentUser.builder()
            .userId(user.optString("user_id", null))
            .deviceId(user.optString("device_id", null))
            .country(user.optString("country", null))
            .version(user.optString("version", null))
            .userProperties(user.getJSONObject("user_properties").toMap());
        if (user.has("groups")) {
            builder.groups(groups(user.getJSONObject("groups")));
        }
        if (user.has("group_properties")) {
            builder.groupProperties(groupProperties(user.getJSONObject("group_properties")));
        }
        return builder.build();
    }

    private static Map<String, Set<String>> groups(JSONObject groups) {
        Map<String, Set<String>> found = new LinkedHashMap<>();
        for (String type : groups.keySet()) {
            Set<String> names = new LinkedHashSet<>();
            groups.getJSONArray(type).forEach(name -> names.add((String) name));
            found.put(type, names);
        }
        return found;
    }

    private static Map<String, Map<String, Map<String, Object>>> groupProperties(JSONObject types) {
        Map<String, Map<String, Map<String, Object>>> found = new LinkedHashMap<>();
        for (String type : types.keySet()) {
            JSONObject names = types.getJSONObject(type);
            Map<String, Map<String, Object>> named = new LinkedHashMap<>();
            names.keySet().forEach(name -> named.put(name, names.getJSONObject(name).toMap()));
            found.put(type, named);
        }
        return found;
    }

    private static JSONObject json(Variant variant) {
        JSONObject json = new JSONObject();
        json.putOpt("key", variant.key);
        json.putOpt("value", variant.value);
        json.putOpt("payload", JSONObject.wrap(variant.payload));
        json.putOpt("metadata", JSONObject.wrap(variant.metadata));
        return json;
    }
}

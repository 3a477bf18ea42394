// The registers, AXI4-Lite, laid out as Vitis HLS lays them out for `edgevision_engine` (hw/README.md).
module registers (
    input  logic        clk,
    input  logic        reset,
    input  logic        aw_valid,
    output logic        aw_ready,
    input  logic [6:0]  aw_address,
    input  logic        w_valid,
    output logic        w_ready,
    input  logic [31:0] w_data,
    input  logic [3:0]  w_strobe,
    output logic        b_valid,
    input  logic        b_ready,
    input  logic        ar_valid,
    output logic        ar_ready,
    input  logic [6:0]  ar_address,
    output logic        r_valid,
    input  logic        r_ready,
    output logic [31:0] r_data,
    output logic        irq,
    // One cycle long; the engine is idle again when it says so.
    output logic        start,
    input  logic        idle,
    input  logic [31:0] finished,
    output logic [31:0] program_at,
    output logic [31:0] words,
    output logic [31:0] features_at,
    output logic [31:0] dilations_at,
    output logic [31:0] results_at
);
    localparam logic [6:0] CONTROL = 7'h00, INTERRUPTS = 7'h04, ENABLED = 7'h08, STATUS = 7'h0c, PROGRAM = 7'h10,
        WORDS = 7'h1c, FEATURES = 7'h24, DILATIONS = 7'h30, RESULTS = 7'h3c, FINISHED = 7'h48;

    logic running, done, done_now, write, interrupts;
    logic [1:0] enabled, status;
    logic [31:0] mask;

    assign mask = {{8{w_strobe[3]}}, {8{w_strobe[2]}}, {8{w_strobe[1]}}, {8{w_strobe[0]}}};
    assign write = aw_valid && w_valid && !b_valid;
    assign aw_ready = write;
    assign w_ready = write;
    assign ar_ready = !r_valid;
    assign done_now = running && idle && !start;
    assign irq = interrupts && status != '0;

    always_ff @(posedge clk) begin
        start <= 1'b0;
        if (b_ready) b_valid <= 1'b0;
        if (r_ready) r_valid <= 1'b0;
        if (ar_valid && ar_ready) begin
            r_valid <= 1'b1;
            case (ar_address)
                // Start, done, idle, ready.
                CONTROL:    r_data <= {28'b0, done, !running, done, running};
                INTERRUPTS: r_data <= {31'b0, interrupts};
                ENABLED:    r_data <= {30'b0, enabled};
                STATUS:     r_data <= {30'b0, status};
                PROGRAM:    r_data <= program_at;
                WORDS:      r_data <= words;
                FEATURES:   r_data <= features_at;
                DILATIONS:  r_data <= dilations_at;
                RESULTS:    r_data <= results_at;
                FINISHED:   r_data <= finished;
                // Whether `finished` counts this run: it always does.
                FINISHED + 7'h4: r_data <= 32'd1;
                default:    r_data <= '0;
            endcase
            if (ar_address == CONTROL) done <= 1'b0;
        end
        if (write) begin
            b_valid <= 1'b1;
            case (aw_address)
                CONTROL: if (w_strobe[0] && w_data[0] && !running) begin
                    start   <= 1'b1;
                    running <= 1'b1;
                end
                INTERRUPTS: if (w_strobe[0]) interrupts <= w_data[0];
                ENABLED:    if (w_strobe[0]) enabled <= w_data[1:0];
                // Writing ones clears what is set.
                STATUS:     if (w_strobe[0]) status <= status ^ w_data[1:0];
                PROGRAM:    program_at <= (w_data & mask) | (program_at & ~mask);
                WORDS:      words <= (w_data & mask) | (words & ~mask);
                FEATURES:   features_at <= (w_data & mask) | (features_at & ~mask);
                DILATIONS:  dilations_at <= (w_data & mask) | (dilations_at & ~mask);
                RESULTS:    results_at <= (w_data & mask) | (results_at & ~mask);
                default: ;
            endcase
        end
        if (done_now) begin
            running <= 1'b0;
            done    <= 1'b1;
            status  <= status | enabled;
        end
        if (reset) begin
            running    <= 1'b0;
            done       <= 1'b0;
            interrupts <= 1'b0;
            enabled    <= '0;
            status     <= '0;
            b_valid    <= 1'b0;
            r_valid    <= 1'b0;
        end
    end
endmodule
